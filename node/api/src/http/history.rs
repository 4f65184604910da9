use super::{
    Api,
    auth::MaybeCaller,
    error::Problem,
    event::EventBody,
    held::held,
    input::{Params, Stream, address},
    number::maybe_whole,
    openapi::{Read, StreamParam},
    reader::{Delivered, Reader},
    time::Time,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use mainstem_model::{Code, Cursor, Origin, Partition, ReadFilter, ReadStart, StreamId};
use mainstem_protocol::Subscribe;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What is read.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryParams {
    /// 0 when absent.
    #[serde(default)]
    #[param(minimum = 0, maximum = 99)]
    partition: u16,
    /// Least timestamp, included.
    #[param(inline)]
    from: Option<Time>,
    /// Greatest timestamp, included.
    #[param(inline)]
    to: Option<Time>,
    /// Begin with the last so many events. A `cursor` goes before it.
    #[serde(default, deserialize_with = "maybe_whole")]
    #[param(minimum = 1)]
    last: Option<u64>,
    /// Only events of this account.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    publisher: Option<String>,
    /// `next` of the page before; all other parameters as they were for that page.
    #[param(pattern = "^[0-9a-f]{38,156}$")]
    cursor: Option<String>,
    /// At most so many events in this page; 1,000 when absent.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<usize>,
}

/// A page of history, in the order of timestamp, origin, series and sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventPage {
    events: Vec<EventBody>,
    /// Cursor of what follows. When `complete`, asking with it later gives what came since.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Everything that was asked for and is stored here has been told.
    complete: bool,
    /// A part of what was asked for is damaged at this node and was left out; other nodes have it.
    damaged: bool,
}

/// Events in a page when nothing else is said.
const LIMIT_DEFAULT: usize = 1_000;

/// Read history, page by page. Takes the right `subscribe`, which on public streams everyone has.
#[utoipa::path(
    get, path = "/streams/{id}/history", tag = "history", operation_id = "history", params(StreamParam, HistoryParams),
    responses((status = 200, body = EventPage), Read),
    security((), ("apiKey" = []))
)]
pub(super) async fn history(
    MaybeCaller(identity): MaybeCaller,
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(params): Params<HistoryParams>,
) -> Result<Response, Problem> {
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 || limit > api.config.history_events_max {
        let message = format!("limit is not a number from 1 to {}", api.config.history_events_max);
        return Err(Problem::argument(message));
    }
    let subscribe = params.subscribe(stream)?;
    let filter = subscribe.filter;
    let room = api.readers.clone().try_acquire_owned().map_err(|_| busy())?;
    let mut reader = Reader::open(&api.handle, identity, subscribe).await?;
    let mut page = Filling { filter, events: Vec::new(), limit, bytes: 0, next: None };
    let page = loop {
        match reader.next().await {
            Ok(Some(delivered)) => {
                let full = page.add(&delivered) || page.bytes >= api.config.history_bytes_max;
                if full {
                    break page.finish(false, false);
                }
            }
            Ok(None) => {
                page.next = reader.end().or(page.next);
                break page.finish(true, false);
            }
            Err(refusal) if refusal.code == Code::DamagedHistory && reader.end().is_some() => {
                page.next = reader.end().or(page.next);
                break page.finish(true, true);
            }
            Err(refusal) => return Err(refusal.into()),
        }
    };
    Ok(held(Json(page).into_response(), room))
}

pub(super) fn busy() -> Problem {
    Problem::new(Code::Overloaded, "too many requests read history at once; try again in a moment")
}

impl HistoryParams {
    fn subscribe(&self, stream: StreamId) -> Result<Subscribe, Problem> {
        let origin = self.publisher.as_deref().map(|text| address("publisher", text)).transpose()?;
        let cursor = self.cursor.as_deref().map(str::parse::<Cursor>).transpose()?;
        let start = match (cursor, self.last) {
            (Some(cursor), _) => ReadStart::Cursor(cursor),
            (None, Some(0)) => return Err(Problem::argument("last is 0; ask for at least one event")),
            (None, Some(last)) => ReadStart::Last(last),
            (None, None) => ReadStart::From,
        };
        let filter = ReadFilter {
            origin: origin.map(Origin::ethereum),
            from: self.from.map_or(i64::MIN, |time| time.unix_ms),
            to: self.to.map_or(i64::MAX, |time| time.unix_ms),
        };
        let at = stream.partition(Partition::try_from(self.partition)?);
        Ok(Subscribe { at, start, filter, live: false })
    }
}

/// A page that is being filled.
struct Filling {
    filter: ReadFilter,
    events: Vec<EventBody>,
    limit: usize,
    bytes: usize,
    next: Option<Cursor>,
}

impl Filling {
    /// Adds what is wanted of a batch; says whether the page is full.
    fn add(&mut self, delivered: &Delivered) -> bool {
        let Delivered { batch, cursor, received_at } = delivered;
        self.bytes += batch.bytes().len();
        for (index, event) in (0_u16..).zip(batch.events()).skip(usize::from(cursor.skip())) {
            if !self.filter.wants_timestamp(event.timestamp) {
                continue;
            }
            if self.events.len() == self.limit {
                self.next = Some(cursor.with_skip(index));
                return true;
            }
            self.events.push(EventBody::of(batch, index, &event, *received_at));
        }
        self.next = Some(cursor.with_skip(batch.header().count));
        self.events.len() == self.limit
    }

    fn finish(self, complete: bool, damaged: bool) -> EventPage {
        EventPage { events: self.events, next: self.next.map(|cursor| cursor.to_string()), complete, damaged }
    }
}
