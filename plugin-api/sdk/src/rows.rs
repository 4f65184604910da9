use mainstem_plugin_abi::plugin_capnp::{column, port_batch, reply};

/// Rows for one port, as a plugin gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Place of the port in the claim's outputs.
    pub port: u16,
    /// When each row is from, in ms since 1970.
    pub timestamps: Vec<i64>,
    /// What the rows hold, as many values as timestamps.
    pub content: RowContent,
}

/// What rows hold.
#[derive(Clone, Debug, PartialEq)]
pub enum RowContent {
    /// The port's columns, in its order.
    Columns(Vec<RowValues>),
    /// Content type and content of each event.
    Events(Vec<(u16, Vec<u8>)>),
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum RowValues {
    /// Whole numbers.
    Int64(Vec<i64>),
    /// Numbers.
    Float64(Vec<f64>),
    /// UTF-8.
    Text(Vec<String>),
    /// Bytes.
    Data(Vec<Vec<u8>>),
}

impl Rows {
    /// Rows in columns.
    pub fn columns(port: u16, timestamps: Vec<i64>, columns: Vec<RowValues>) -> Self {
        Self { port, timestamps, content: RowContent::Columns(columns) }
    }

    /// Rows that are events as a whole.
    pub fn events(port: u16, timestamps: Vec<i64>, events: Vec<(u16, Vec<u8>)>) -> Self {
        Self { port, timestamps, content: RowContent::Events(events) }
    }

    /// The rows, or none at all if there is no row: what an operator gives that may have nothing to say.
    pub fn if_any(self) -> Vec<Self> {
        if self.timestamps.is_empty() { Vec::new() } else { vec![self] }
    }

    /// The first list with another count than there are timestamps: its name and its count.
    pub(crate) fn misfit(&self) -> Option<(String, usize)> {
        let rows = self.timestamps.len();
        match &self.content {
            RowContent::Columns(columns) => columns
                .iter()
                .enumerate()
                .find(|(_, values)| values.len() != rows)
                .map(|(index, values)| (format!("column {index}"), values.len())),
            RowContent::Events(events) => {
                (events.len() != rows).then(|| ("the list of events".to_owned(), events.len()))
            }
        }
    }

    pub(crate) fn write(&self, mut to: port_batch::Builder<'_>) {
        to.set_port(self.port);
        let mut timestamps = to.reborrow().init_timestamps(self.timestamps.len() as u32);
        for (index, timestamp) in self.timestamps.iter().enumerate() {
            timestamps.set(index as u32, *timestamp);
        }
        match &self.content {
            RowContent::Columns(columns) => {
                let mut to = to.init_columns(columns.len() as u32);
                for (index, values) in columns.iter().enumerate() {
                    values.write(to.reborrow().get(index as u32));
                }
            }
            RowContent::Events(events) => {
                let mut to = to.init_events(events.len() as u32);
                for (index, (content_type, content)) in events.iter().enumerate() {
                    let mut to = to.reborrow().get(index as u32);
                    to.set_content_type(*content_type);
                    to.set_content(content);
                }
            }
        }
    }

    /// About how many words it takes.
    pub(crate) fn words(&self) -> usize {
        let content = match &self.content {
            RowContent::Columns(columns) => columns.iter().map(RowValues::words).sum::<usize>(),
            RowContent::Events(events) => {
                events.iter().map(|(_, content)| 3 + content.len() / 8).sum::<usize>() + 1
            }
        };
        8 + self.timestamps.len() + content
    }
}

impl RowValues {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Int64(values) => values.len(),
            Self::Float64(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Data(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write(&self, to: column::Builder<'_>) {
        let count = self.len() as u32;
        match self {
            Self::Int64(values) => {
                let mut to = to.init_int64(count);
                (0..).zip(values).for_each(|(index, value)| to.set(index, *value));
            }
            Self::Float64(values) => {
                let mut to = to.init_float64(count);
                (0..).zip(values).for_each(|(index, value)| to.set(index, *value));
            }
            Self::Text(values) => {
                let mut to = to.init_text(count);
                (0..).zip(values).for_each(|(index, value)| to.set(index, &**value));
            }
            Self::Data(values) => {
                let mut to = to.init_data(count);
                (0..).zip(values).for_each(|(index, value)| to.set(index, value));
            }
        }
    }

    fn words(&self) -> usize {
        2 + match self {
            Self::Int64(_) | Self::Float64(_) => self.len(),
            Self::Text(values) => values.iter().map(|value| 3 + value.len() / 8).sum(),
            Self::Data(values) => values.iter().map(|value| 3 + value.len() / 8).sum(),
        }
    }
}

/// The reply `emitted`.
pub(crate) fn write_emitted(batches: &[Rows]) -> Vec<u8> {
    let words = 8 + batches.iter().map(Rows::words).sum::<usize>();
    mainstem_plugin_abi::write::<reply::Owned>(words, |reply: reply::Builder<'_>| {
        let mut to = reply.init_emitted(batches.len() as u32);
        for (index, batch) in batches.iter().enumerate() {
            batch.write(to.reborrow().get(index as u32));
        }
    })
}
