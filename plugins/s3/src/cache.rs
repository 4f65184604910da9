use std::collections::BTreeMap;

/// Bytes that an object takes beside its own.
const EACH: usize = 128;

/// Whole objects that were read or written last, by their first places.
///
/// They take up to `bytes_max` bytes; at the bound those that were not used for longest go. One that is longer stays alone.
#[derive(Debug)]
pub(crate) struct Cache {
    bytes_max: usize,
    bytes: usize,
    /// With the number of their last use.
    objects: BTreeMap<u64, (u64, Vec<u8>)>,
    /// First places by that number.
    by_use: BTreeMap<u64, u64>,
    uses: u64,
}

impl Cache {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, objects: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    pub(crate) fn has(&self, first: u64) -> bool {
        self.objects.contains_key(&first)
    }

    /// An object, which is used by that.
    pub(crate) fn take(&mut self, first: u64) -> Option<&[u8]> {
        let (last, bytes) = self.objects.get_mut(&first)?;
        self.by_use.remove(last);
        self.uses += 1;
        *last = self.uses;
        self.by_use.insert(self.uses, first);
        Some(bytes)
    }

    pub(crate) fn insert(&mut self, first: u64, bytes: Vec<u8>) {
        self.remove(first);
        self.bytes += bytes.len() + EACH;
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.by_use.first_key_value().map(|(_, first)| *first) else { break };
            self.remove(oldest);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, first);
        self.objects.insert(first, (self.uses, bytes));
    }

    pub(crate) fn remove(&mut self, first: u64) {
        if let Some((last, bytes)) = self.objects.remove(&first) {
            self.by_use.remove(&last);
            self.bytes -= bytes.len() + EACH;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_used_last_stay_and_take_no_more_than_the_bound() {
        let mut cache = Cache::new(3 * (EACH + 10));
        let has = |cache: &Cache| (0..9).filter(|first| cache.has(*first)).collect::<Vec<_>>();
        for first in 0..3 {
            cache.insert(first, vec![first as u8; 10]);
        }
        assert_eq!(cache.take(0), Some(&[0; 10][..]));
        cache.insert(3, vec![3; 10]);
        assert_eq!(has(&cache), [0, 2, 3], "1 was not used for longest");
        cache.insert(2, vec![4; 2]);
        assert_eq!(cache.take(2), Some(&[4; 2][..]));
        assert_eq!(has(&cache), [0, 2, 3]);
        cache.remove(0);
        cache.remove(0);
        assert_eq!(cache.take(0), None);
        assert_eq!(has(&cache), [2, 3]);
        cache.insert(5, vec![5; 9_999]);
        assert_eq!(has(&cache), [5], "one that is longer than all stays alone");
        cache.insert(6, vec![6; 10]);
        assert_eq!(has(&cache), [6]);
        cache.remove(6);
        assert_eq!((cache.bytes, cache.by_use.len()), (0, 0));
    }
}
