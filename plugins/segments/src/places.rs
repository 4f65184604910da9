/// Places of the records of a frame, which rise: mostly one behind the other, and then in no memory of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// So many from a first one on.
    Run { first: u64, count: u32 },
    /// What is left when some were trimmed.
    List(Box<[u64]>),
}

impl Places {
    /// Nothing of places that do not rise, or of none.
    pub(crate) fn of(places: impl Iterator<Item = u64>) -> Option<Self> {
        let list: Vec<u64> = places.collect();
        let (first, last) = (*list.first()?, *list.last()?);
        if !list.is_sorted_by(|one, other| one < other) {
            return None;
        }
        Some(if last - first == list.len() as u64 - 1 {
            Self::Run { first, count: list.len() as u32 }
        } else {
            Self::List(list.into())
        })
    }

    pub(crate) fn first(&self) -> u64 {
        match self {
            Self::Run { first, .. } => *first,
            Self::List(list) => list.first().copied().unwrap_or(0),
        }
    }

    pub(crate) fn last(&self) -> u64 {
        match self {
            Self::Run { first, count } => first + u64::from(*count) - 1,
            Self::List(list) => list.last().copied().unwrap_or(0),
        }
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Run { count, .. } => *count as usize,
            Self::List(list) => list.len(),
        }
    }

    pub(crate) fn contains(&self, place: u64) -> bool {
        match self {
            Self::Run { .. } => (self.first()..=self.last()).contains(&place),
            Self::List(list) => list.binary_search(&place).is_ok(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let (run, list) = match self {
            Self::Run { .. } => (Some(self.first()..=self.last()), &[][..]),
            Self::List(list) => (None, &**list),
        };
        run.into_iter().flatten().chain(list.iter().copied())
    }
}
