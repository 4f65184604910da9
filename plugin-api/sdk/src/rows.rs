use crate::{Batch, Failure};
use mainstem_plugin_abi::{
    layout::{Writer, event_words, sizes, tags, words_of},
    plugin_capnp::{column, port_batch, reply},
};
use std::borrow::Cow;

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
    /// Rows of the batch that was just given, as they are, by their numbers in it. In what `on_batch` gives alone.
    Passed(Vec<u32>),
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

    /// Rows of the batch that was just given, as they are, by their numbers in it: what passes a filter. Nothing of them is copied
    /// before the reply is written. A number that the batch does not have fails the call.
    pub fn passed(port: u16, batch: &Batch<'_>, rows: Vec<u32>) -> Self {
        let of = batch.timestamps();
        let timestamps = rows.iter().map(|row| of.get(*row as usize).unwrap_or_default()).collect();
        Self { port, timestamps, content: RowContent::Passed(rows) }
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
            RowContent::Passed(passed) => {
                (passed.len() != rows).then(|| ("the list of rows".to_owned(), passed.len()))
            }
        }
    }

    /// Writes them, with their events if they have no columns.
    pub(crate) fn write(&self, content: &Content<'_>, mut to: port_batch::Builder<'_>) {
        to.set_port(self.port);
        let mut timestamps = to.reborrow().init_timestamps(self.timestamps.len() as u32);
        for (index, timestamp) in self.timestamps.iter().enumerate() {
            timestamps.set(index as u32, *timestamp);
        }
        match content {
            Content::Columns(columns) => {
                let mut to = to.init_columns(columns.len() as u32);
                for (index, values) in columns.iter().enumerate() {
                    values.write(to.reborrow().get(index as u32));
                }
            }
            Content::Events(events) => {
                let mut to = to.init_events(events.len() as u32);
                for (index, (content_type, content)) in events.iter().enumerate() {
                    let mut to = to.reborrow().get(index as u32);
                    to.set_content_type(*content_type);
                    to.set_content(content);
                }
            }
        }
    }

    /// About how many words they take.
    pub(crate) fn words(&self, content: &Content<'_>) -> usize {
        let more = match content {
            Content::Columns(_) => 0,
            Content::Events(events) => event_words(events.len()),
        };
        8 + self.timestamps.len() + more + content.words()
    }

    /// What they hold, where it lies.
    ///
    /// # Errors
    /// Rows that are passed on of no batch, or that it does not have.
    pub(crate) fn content<'a>(&'a self, batch: Option<&Batch<'a>>) -> Result<Content<'a>, Failure> {
        Ok(match &self.content {
            RowContent::Columns(columns) => Content::Columns(Cow::Borrowed(columns)),
            RowContent::Events(events) => {
                Content::Events(events.iter().map(|(of, content)| (*of, content.as_slice())).collect())
            }
            RowContent::Passed(rows) => {
                let batch = batch
                    .ok_or_else(|| Failure::internal("the operator passes rows on, and it was given none"))?;
                let rows = rows.iter().map(|row| *row as usize);
                if batch.has_events() {
                    let events = rows.map(|row| batch.event(row).map(|it| (it.content_type, it.content)));
                    Content::Events(events.collect::<Result<_, _>>()?)
                } else {
                    let columns = (0..batch.columns()).map(|at| batch.column(at)?.pick(rows.clone()));
                    Content::Columns(columns.collect::<Result<_, _>>()?)
                }
            }
        })
    }
}

/// [`RowContent`] as it is written.
pub(crate) enum Content<'a> {
    Columns(Cow<'a, [RowValues]>),
    Events(Vec<(u16, &'a [u8])>),
}

impl Content<'_> {
    /// About how many words it takes; of events to the word.
    fn words(&self) -> usize {
        match self {
            Self::Columns(columns) => columns.iter().map(RowValues::words).sum(),
            Self::Events(events) => events.iter().map(|(_, content)| words_of(content.len())).sum(),
        }
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

/// The reply `emitted`, to a call with this batch.
///
/// # Errors
/// Rows that are passed on and that the batch does not have.
pub(crate) fn write_emitted(batches: &[Rows], batch: Option<&Batch<'_>>) -> Result<Vec<u8>, Failure> {
    let contents = batches.iter().map(|rows| rows.content(batch)).collect::<Result<Vec<_>, _>>()?;
    if let Some(laid) = lay_emitted(batches, &contents) {
        return Ok(laid);
    }
    let words = 8 + batches.iter().zip(&contents).map(|(rows, of)| rows.words(of)).sum::<usize>();
    Ok(mainstem_plugin_abi::write::<reply::Owned>(words, |reply: reply::Builder<'_>| {
        let mut to = reply.init_emitted(batches.len() as u32);
        for (index, (rows, content)) in batches.iter().zip(&contents).enumerate() {
            rows.write(content, to.reborrow().get(index as u32));
        }
    }))
}

/// The same, if all of it is whole events.
fn lay_emitted(batches: &[Rows], contents: &[Content<'_>]) -> Option<Vec<u8>> {
    let step = sizes::PORT_BATCH.0 + sizes::PORT_BATCH.1;
    let mut words = 1 + sizes::REPLY.0 + sizes::REPLY.1 + 1 + step * batches.len();
    for content in contents {
        let Content::Events(events) = content else { return None };
        words += event_words(events.len()) + content.words();
    }
    let mut bytes = vec![0; 8 * words];
    let mut to = Writer::new(&mut bytes);
    let root = to.root(sizes::REPLY, tags::EMITTED)?;
    let mut at = to.structs(root, sizes::PORT_BATCH, batches.len())?;
    for (rows, content) in batches.iter().zip(contents) {
        let Content::Events(events) = content else { return None };
        to.events(at, rows.port, &rows.timestamps, events.iter().copied())?;
        at += step;
    }
    Some(bytes)
}
