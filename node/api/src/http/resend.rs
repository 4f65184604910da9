//! History in the shapes of Streamr's storage nodes: `last`, `from`, `range`.

use super::{
    Api,
    auth::MaybeCaller,
    batches::Octets,
    error::Problem,
    event::MessageBody,
    history::busy,
    input::{Params, PathPartition, Stream, address},
    number::{maybe_whole, whole},
    openapi::{PartitionParam, Read, StreamParam},
    reader::{Delivered, Reader},
    time::Time,
};
use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use mainstem_model::{Address, Origin, ReadFilter, ReadStart, SeriesId, StreamPartition};
use mainstem_protocol::Subscribe;
use serde::Deserialize;
use std::{io, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa::ToSchema;

/// `object`: a JSON array of messages. `batch`: batches as they were signed, each behind its length (u32, little-endian);
/// whole ones, so events outside of what was asked for can be among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Format {
    Object,
    Batch,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LastParams {
    /// How many; 1 when absent.
    #[param(minimum = 1, maximum = 10000)]
    count: Option<u64>,
    #[param(inline, value_type = Option<Format>)]
    format: Option<String>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct FromParams {
    /// Least timestamp, included.
    #[param(inline)]
    from_timestamp: Time,
    /// Of messages at exactly that time, only those with this sequence number or a greater one.
    #[serde(default, deserialize_with = "whole")]
    #[param(minimum = 0)]
    from_sequence_number: u64,
    /// Only messages of this account.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    publisher_id: Option<String>,
    #[param(inline, value_type = Option<Format>)]
    format: Option<String>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct RangeParams {
    /// Least timestamp, included.
    #[param(inline)]
    from_timestamp: Time,
    /// Of messages at exactly that time, only those with this sequence number or a greater one.
    #[serde(default, deserialize_with = "whole")]
    #[param(minimum = 0)]
    from_sequence_number: u64,
    /// Greatest timestamp, included.
    #[param(inline)]
    to_timestamp: Time,
    /// Of messages at exactly that time, only those with this sequence number or a lesser one.
    #[serde(default, deserialize_with = "maybe_whole")]
    #[param(minimum = 0)]
    to_sequence_number: Option<u64>,
    /// Only messages of this account; together with `msgChainId`.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    publisher_id: Option<String>,
    /// Only messages of this series; together with `publisherId`.
    #[param(pattern = "^[0-9a-fA-F]{16}$")]
    msg_chain_id: Option<String>,
    #[param(inline, value_type = Option<Format>)]
    format: Option<String>,
}

/// The last messages of a partition.
#[utoipa::path(
    get, path = "/streams/{id}/data/partitions/{p}/last", tag = "history", operation_id = "resendLast",
    params(StreamParam, PartitionParam, LastParams),
    responses(
        (status = 200, description = "In order.", content((Vec<MessageBody> = "application/json"), (Octets = "application/octet-stream"))),
        Read
    ),
    security((), ("apiKey" = []))
)]
pub(super) async fn last(
    MaybeCaller(identity): MaybeCaller,
    Stream(stream): Stream,
    PathPartition(partition): PathPartition,
    State(api): State<Arc<Api>>,
    Params(params): Params<LastParams>,
) -> Result<Response, Problem> {
    let count = params.count.unwrap_or(1);
    if count == 0 || count > api.config.history_events_max as u64 {
        let message = format!("count is not a number from 1 to {}", api.config.history_events_max);
        return Err(Problem::argument(message));
    }
    let format = format_of(params.format.as_deref())?;
    resend(&api, identity, stream.partition(partition), ReadStart::Last(count), Selection::all(format)).await
}

/// All messages of a partition from a time on.
#[utoipa::path(
    get, path = "/streams/{id}/data/partitions/{p}/from", tag = "history", operation_id = "resendFrom",
    params(StreamParam, PartitionParam, FromParams),
    responses(
        (status = 200, description = "In order; the whole past, streamed. A body that breaks off is not complete.", content((Vec<MessageBody> = "application/json"), (Octets = "application/octet-stream"))),
        Read
    ),
    security((), ("apiKey" = []))
)]
pub(super) async fn from(
    MaybeCaller(identity): MaybeCaller,
    Stream(stream): Stream,
    PathPartition(partition): PathPartition,
    State(api): State<Arc<Api>>,
    Params(params): Params<FromParams>,
) -> Result<Response, Problem> {
    let mut selection = Selection::all(format_of(params.format.as_deref())?);
    selection.from = (params.from_timestamp.unix_ms, params.from_sequence_number);
    selection.publisher =
        params.publisher_id.as_deref().map(|text| address("publisherId", text)).transpose()?;
    resend(&api, identity, stream.partition(partition), ReadStart::From, selection).await
}

/// All messages of a partition between two times.
#[utoipa::path(
    get, path = "/streams/{id}/data/partitions/{p}/range", tag = "history", operation_id = "resendRange",
    params(StreamParam, PartitionParam, RangeParams),
    responses(
        (status = 200, description = "In order, streamed. A body that breaks off is not complete.", content((Vec<MessageBody> = "application/json"), (Octets = "application/octet-stream"))),
        Read
    ),
    security((), ("apiKey" = []))
)]
pub(super) async fn range(
    MaybeCaller(identity): MaybeCaller,
    Stream(stream): Stream,
    PathPartition(partition): PathPartition,
    State(api): State<Arc<Api>>,
    Params(params): Params<RangeParams>,
) -> Result<Response, Problem> {
    if params.publisher_id.is_some() != params.msg_chain_id.is_some() {
        return Err(Problem::argument("publisherId and msgChainId go together: give both or none"));
    }
    let mut selection = Selection::all(format_of(params.format.as_deref())?);
    selection.from = (params.from_timestamp.unix_ms, params.from_sequence_number);
    selection.to = (params.to_timestamp.unix_ms, params.to_sequence_number.unwrap_or(u64::MAX));
    selection.publisher =
        params.publisher_id.as_deref().map(|text| address("publisherId", text)).transpose()?;
    selection.series = params.msg_chain_id.as_deref().map(series).transpose()?;
    resend(&api, identity, stream.partition(partition), ReadStart::From, selection).await
}

fn format_of(text: Option<&str>) -> Result<Format, Problem> {
    match text {
        None | Some("object") => Ok(Format::Object),
        Some("batch") => Ok(Format::Batch),
        Some("raw") => Err(Problem::argument(
            "format=raw is Streamr's protobuf, which this node does not keep; ask for format=batch (signed batches, each \
             behind its u32 little-endian length) or format=object",
        )),
        Some(_) => Err(Problem::argument("format is neither object nor batch")),
    }
}

fn series(text: &str) -> Result<SeriesId, Problem> {
    Some(text)
        .filter(|text| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .map(SeriesId)
        .ok_or_else(|| Problem::argument("msgChainId is not 16 hex digits"))
}

/// What is told of the batches that are read.
#[derive(Clone, Copy, Debug)]
struct Selection {
    format: Format,
    /// Least timestamp, and sequence number at it.
    from: (i64, u64),
    /// Greatest timestamp, and sequence number at it.
    to: (i64, u64),
    publisher: Option<Address>,
    series: Option<SeriesId>,
}

impl Selection {
    const fn all(format: Format) -> Self {
        Self { format, from: (i64::MIN, 0), to: (i64::MAX, u64::MAX), publisher: None, series: None }
    }

    /// Appends what is wanted of a batch.
    fn put(&self, delivered: &Delivered, first: &mut bool, out: &mut Vec<u8>) {
        let Delivered { batch, cursor, .. } = delivered;
        if self.series.is_some_and(|series| series != batch.header().series) {
            return;
        }
        if self.format == Format::Batch {
            // At most BATCH_BYTES_MAX.
            out.extend_from_slice(&(batch.bytes().len() as u32).to_le_bytes());
            out.extend_from_slice(batch.bytes());
            return;
        }
        for (index, event) in (0_u16..).zip(batch.events()).skip(usize::from(cursor.skip())) {
            let place = (event.timestamp, batch.header().sequence + u64::from(index));
            if place < self.from || place > self.to {
                continue;
            }
            if !std::mem::take(first) {
                out.push(b',');
            }
            // IMPORTANT: numbers, strings and checked JSON always have a JSON form, and a Vec takes every write.
            let _ = serde_json::to_writer(&mut *out, &MessageBody::of(batch, index, &event));
        }
    }
}

async fn resend(
    api: &Api,
    identity: Option<Address>,
    at: StreamPartition,
    start: ReadStart,
    selection: Selection,
) -> Result<Response, Problem> {
    let filter = ReadFilter {
        origin: selection.publisher.map(Origin::ethereum),
        from: selection.from.0,
        to: selection.to.0,
    };
    let room = api.readers.clone().try_acquire_owned().map_err(|_| busy())?;
    let subscribe = Subscribe { at, start, filter, live: false };
    let mut reader = Reader::open(&api.handle, identity, subscribe).await?;
    // The first batch is awaited before the answer begins, so that an early refusal has its status.
    let first = reader.next().await?;
    let kind = match selection.format {
        Format::Object => "application/json",
        Format::Batch => "application/octet-stream",
    };
    let (pieces, body) = mpsc::channel(1);
    let stall = Duration::from_millis(api.config.body_timeout_ms);
    tokio::spawn(tell(Telling { reader, selection, pieces, stall, _room: room }, first));
    Ok(([(header::CONTENT_TYPE, kind)], body_of(body)).into_response())
}

/// A piece of an answer, or its proper end.
enum Piece {
    Bytes(Bytes),
    End,
}

/// An answer that is being told.
struct Telling {
    reader: Reader,
    selection: Selection,
    pieces: mpsc::Sender<Piece>,
    /// How long the client may take for one piece.
    stall: Duration,
    _room: OwnedSemaphorePermit,
}

impl Telling {
    /// Says `false` when the client is gone or takes nothing.
    async fn send(&self, piece: Piece) -> bool {
        matches!(tokio::time::timeout(self.stall, self.pieces.send(piece)).await, Ok(Ok(())))
    }
}

/// Tells batch after batch. However it returns before the end, the body breaks off and cannot be taken for complete.
async fn tell(mut telling: Telling, first: Option<Delivered>) {
    let json = telling.selection.format == Format::Object;
    let mut out = if json { vec![b'['] } else { Vec::new() };
    let (mut next, mut is_first) = (first, true);
    while let Some(delivered) = next {
        telling.selection.put(&delivered, &mut is_first, &mut out);
        if !out.is_empty() && !telling.send(Piece::Bytes(std::mem::take(&mut out).into())).await {
            return;
        }
        next = match telling.reader.next().await {
            Ok(next) => next,
            Err(refusal) => {
                tracing::warn!(code = %refusal.code, "an answer with history breaks off");
                return;
            }
        };
    }
    if json {
        out.push(b']');
    }
    if telling.send(Piece::Bytes(out.into())).await {
        telling.send(Piece::End).await;
    }
}

fn body_of(pieces: mpsc::Receiver<Piece>) -> Body {
    Body::from_stream(stream::unfold(Some(pieces), async |pieces| {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(pieces))),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("the answer broke off")), None)),
        }
    }))
}
