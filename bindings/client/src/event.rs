use crate::{Closed, encryption::reading::Contents};
use bytes::Bytes;
use mainstem_model::{
    Batch, ContentType, Cursor, EncryptionType, EventProof, EventRef, Header, KeyId, NewEvent, Origin,
    ReadFilter, SeriesId, StreamPartition, VerifiedBatch,
};
use std::{ops::Range, sync::Arc};

/// The content of an event that is about to be published.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// One JSON value.
    Json(serde_json::Value),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Content {
    /// As an event in the clear.
    pub fn into_event(self, timestamp: i64) -> NewEvent {
        let (content_type, content) = match self {
            Self::Json(value) => (ContentType::JSON, value.to_string().into()),
            Self::Text(text) => (ContentType::TEXT, text.into()),
            Self::Binary(bytes) => (ContentType::BINARY, bytes),
        };
        NewEvent { timestamp, content_type, encryption_type: EncryptionType::NONE, content }
    }
}

impl From<serde_json::Value> for Content {
    fn from(value: serde_json::Value) -> Self {
        Self::Json(value)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

/// A received batch: proven, and as asked for. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct EventBatch(Arc<Received>);

#[derive(Debug)]
struct Received {
    batch: VerifiedBatch,
    contents: Arc<Contents>,
    /// Where the subscription stands before the batch's first event.
    cursor: Cursor,
    /// The batch was fetched to fill a gap: the subscription stands there still when it was had.
    fetched: bool,
    received_at: i64,
    /// Leading events before it are had already.
    skip: usize,
    /// Events from here on are more than was asked for.
    end: usize,
    /// Set when some of the batch's events may lie outside the range of time that was asked for.
    times: Option<(i64, i64)>,
}

impl EventBatch {
    pub(crate) fn new(
        batch: VerifiedBatch,
        contents: Contents,
        cursor: Cursor,
        received_at: i64,
        filter: &ReadFilter,
    ) -> Self {
        let contents = Arc::new(contents);
        let header = batch.header();
        let inside = filter.from <= header.timestamp_min && header.timestamp_max <= filter.to;
        let times = (!inside).then_some((filter.from, filter.to));
        let skip = usize::from(cursor.skip().min(header.count));
        let end = usize::from(header.count);
        Self(Arc::new(Received { batch, contents, cursor, fetched: false, received_at, skip, end, times }))
    }

    /// A batch that fills a gap; `cursor` is where the subscription stands.
    pub(crate) fn fetched(
        batch: VerifiedBatch,
        contents: Contents,
        cursor: Cursor,
        received_at: i64,
        filter: &ReadFilter,
    ) -> Self {
        let Self(received) = Self::new(batch, contents, cursor.with_skip(0), received_at, filter);
        let received =
            Arc::try_unwrap(received).map(|received| Received { cursor, fetched: true, ..received });
        // IMPORTANT: nobody else has it yet.
        Self(Arc::new(received.expect("it was made here")))
    }

    /// What is left of it behind the event at `index`.
    pub(crate) fn rest(&self, index: usize) -> Self {
        let Received { batch, contents, cursor, fetched, received_at, end, times, .. } = &*self.0;
        Self(Arc::new(Received {
            batch: batch.clone(),
            contents: contents.clone(),
            cursor: *cursor,
            fetched: *fetched,
            received_at: *received_at,
            skip: index,
            end: *end,
            times: *times,
        }))
    }

    /// At most its first `count` wanted events.
    pub(crate) fn first(self, count: u64) -> Self {
        let cut = self.events().nth(usize::try_from(count).unwrap_or(usize::MAX)).map(|(index, _)| index);
        let Some(end) = cut else { return self };
        let Received { batch, contents, cursor, fetched, received_at, skip, times, .. } = &*self.0;
        Self(Arc::new(Received {
            batch: batch.clone(),
            contents: contents.clone(),
            cursor: *cursor,
            fetched: *fetched,
            received_at: *received_at,
            skip: *skip,
            end,
            times: *times,
        }))
    }

    /// What was signed of the batch.
    pub fn header(&self) -> &Header {
        self.0.batch.header()
    }

    /// Where it was published.
    pub fn stream_partition(&self) -> StreamPartition {
        self.header().stream_partition
    }

    /// Who made it.
    pub fn origin(&self) -> Origin {
        self.header().origin
    }

    /// The run of batches it belongs to.
    pub fn series(&self) -> SeriesId {
        self.header().series
    }

    /// When the broker took it in, milliseconds; the broker's word.
    pub fn received_at(&self) -> i64 {
        self.0.received_at
    }

    /// The batch as signed, for storing or passing on.
    pub fn batch(&self) -> &Batch {
        &self.0.batch
    }

    /// The places in the batch that can hold wanted events: leading ones that were had already and last ones that are too
    /// many are left out. Where
    /// [`EventBatch::has_time_filter`], look at each with [`EventBatch::wants`].
    pub fn wanted(&self) -> Range<usize> {
        self.0.skip..self.0.end
    }

    /// Whether some events within [`EventBatch::wanted`] may lie outside the range of time that was asked for.
    pub fn has_time_filter(&self) -> bool {
        self.0.times.is_some()
    }

    /// Whether an event of this timestamp was asked for.
    pub fn wants(&self, timestamp: i64) -> bool {
        self.0.times.is_none_or(|(from, to)| from <= timestamp && timestamp <= to)
    }

    /// The wanted events in series order, in place, each with its place in the batch. A content that was sealed is the opened one; the
    /// encryption type stays. What did not open is as it was published: see [`EventBatch::closed`].
    pub fn events(&self) -> impl Iterator<Item = (usize, EventRef<'_>)> {
        let all = self.0.batch.events().enumerate().take(self.0.end).skip(self.0.skip);
        let all = all.filter(|(_, event)| self.wants(event.timestamp));
        all.map(|(index, event)| (index, self.0.contents.read(index, event)))
    }

    /// How many events are wanted.
    pub fn len(&self) -> usize {
        if self.has_time_filter() { self.events().count() } else { self.wanted().len() }
    }

    /// Whether no event is wanted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The content of one event: opened, or sharing the batch's memory.
    pub fn content(&self, index: usize) -> Option<Bytes> {
        let opened = self.0.contents.opened(index).map(|(_, content)| content.clone());
        opened.or_else(|| self.0.batch.content(index))
    }

    /// Why the event at `index` is still sealed; none if it is in the clear or was opened.
    pub fn closed(&self, index: usize) -> Option<&Closed> {
        self.0.contents.closed(index)
    }

    /// The content key that opened the event at `index`.
    pub fn content_key(&self, index: usize) -> Option<KeyId> {
        self.0.contents.opened(index).map(|(key, _)| key)
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.0.batch.bytes().len() + self.0.contents.bytes()
    }

    /// Where to go on behind the whole batch.
    pub fn cursor(&self) -> Cursor {
        self.cursor_after(self.0.end.saturating_sub(1))
    }

    /// Where to go on behind the event at `index`.
    pub fn cursor_after(&self, index: usize) -> Cursor {
        if self.0.fetched {
            return self.0.cursor;
        }
        // A batch has at most 1024 events.
        let taken = (index + 1).min(usize::from(self.header().count)) as u16;
        self.0.cursor.with_skip(taken)
    }

    /// The event at `index` with all it takes to prove it to anybody, a contract included.
    pub fn proof(&self, index: usize) -> Option<EventProof> {
        EventProof::of(&self.0.batch, u16::try_from(index).ok()?)
    }

    /// The batch as proven.
    pub fn verified(&self) -> &VerifiedBatch {
        &self.0.batch
    }
}

/// One received event. Cloning is cheap; it keeps its whole batch in memory.
#[derive(Clone, Debug)]
pub struct Event {
    batch: EventBatch,
    index: u16,
    timestamp: i64,
    content_type: ContentType,
    encryption_type: EncryptionType,
    content: Bytes,
}

impl Event {
    /// Every wanted event of a batch, in order.
    pub(crate) fn all_of(batch: &EventBatch) -> impl Iterator<Item = Self> {
        batch.events().map(|(index, event)| Self {
            batch: batch.clone(),
            // A batch has at most 1024 events.
            index: index as u16,
            timestamp: event.timestamp,
            content_type: event.content_type,
            encryption_type: event.encryption_type,
            content: batch.content(index).unwrap_or_default(),
        })
    }

    /// Milliseconds since 1970-01-01 UTC, as its maker says.
    pub const fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// What the content is.
    pub const fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// How the content was sealed by its publisher, also when it is open here.
    pub const fn encryption_type(&self) -> EncryptionType {
        self.encryption_type
    }

    /// The content: opened, or as it was published if [`Event::closed`] says why.
    pub const fn content(&self) -> &Bytes {
        &self.content
    }

    /// Why the content is still sealed; none if it is in the clear or was opened.
    pub fn closed(&self) -> Option<&Closed> {
        self.batch.closed(usize::from(self.index))
    }

    /// The content key that opened it.
    pub fn content_key(&self) -> Option<KeyId> {
        self.batch.content_key(usize::from(self.index))
    }

    /// The content as JSON; `None` when it is not.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.content).ok()
    }

    /// Where it was published.
    pub fn stream_partition(&self) -> StreamPartition {
        self.batch.stream_partition()
    }

    /// Who made it.
    pub fn origin(&self) -> Origin {
        self.batch.origin()
    }

    /// The run of events it belongs to.
    pub fn series(&self) -> SeriesId {
        self.batch.series()
    }

    /// Its number in the series, from 0.
    pub fn sequence(&self) -> u64 {
        self.batch.header().sequence + u64::from(self.index)
    }

    /// When the broker took it in, milliseconds; the broker's word.
    pub fn received_at(&self) -> i64 {
        self.batch.received_at()
    }

    /// Where to go on behind this event, for [`Start::Cursor`](crate::Start::Cursor).
    pub fn cursor(&self) -> Cursor {
        self.batch.cursor_after(usize::from(self.index))
    }

    /// The event with all it takes to prove it to anybody, a contract included.
    pub fn proof(&self) -> Option<EventProof> {
        self.batch.proof(usize::from(self.index))
    }

    pub(crate) const fn index(&self) -> usize {
        self.index as usize
    }

    /// The batch it came in.
    pub const fn batch(&self) -> &EventBatch {
        &self.batch
    }
}
