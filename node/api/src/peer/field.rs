//! Names and other values that take more than a number: their bytes in a head, and back.

use super::decode::{Stop, head_error, malformed};
use mainstem_model::{
    Address, BatchId, Code, Cursor, HeadsDigest, Origin, Partition, ReadFilter, Refusal, SeriesHead,
    SeriesId, SeriesKey, SeriesRange, StreamId, StreamPartition,
};
use mainstem_schema::{error_capnp, peer_capnp as wire};

/// Bytes of a refusal's sentence that are taken from a peer; ours are shorter.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Bytes of a code that are taken from a peer.
const CODE_BYTES_MAX: usize = 64;

const PARTITION: usize = 22;
const MEMBER: usize = Origin::ENCODED_LENGTH + 8;
const SERIES: usize = PARTITION + MEMBER;

/// Stream 20 ‖ partition u16.
pub(super) fn partition(at: StreamPartition) -> [u8; PARTITION] {
    let mut out = [0; PARTITION];
    out[..20].copy_from_slice(at.stream.0.as_bytes());
    out[20..].copy_from_slice(&at.partition.number().to_be_bytes());
    out
}

pub(super) fn read_partition(bytes: capnp::Result<&[u8]>) -> Result<StreamPartition, Stop> {
    let bytes: &[u8; PARTITION] =
        bytes.map_err(head_error)?.try_into().map_err(|_| malformed("a partition has 22 bytes"))?;
    let (mut stream, number) = ([0; 20], u16::from_be_bytes([bytes[20], bytes[21]]));
    stream.copy_from_slice(&bytes[..20]);
    let number =
        Partition::try_from(number).map_err(|_| malformed("a partition's number is out of range"))?;
    Ok(StreamId(Address(stream)).partition(number))
}

/// Origin 34 ‖ series u64.
fn member((origin, series): (Origin, SeriesId)) -> [u8; MEMBER] {
    let mut out = [0; MEMBER];
    out[..Origin::ENCODED_LENGTH].copy_from_slice(&origin.to_bytes());
    out[Origin::ENCODED_LENGTH..].copy_from_slice(&series.0.to_be_bytes());
    out
}

fn read_member(bytes: capnp::Result<&[u8]>) -> Result<(Origin, SeriesId), Stop> {
    let wrong = || malformed("an origin's series has 42 bytes");
    let (origin, series) =
        bytes.map_err(head_error)?.split_first_chunk::<{ Origin::ENCODED_LENGTH }>().ok_or_else(wrong)?;
    let series = SeriesId(u64::from_be_bytes(series.try_into().map_err(|_| wrong())?));
    let origin =
        Origin::from_bytes(origin).ok_or_else(|| malformed("an origin is not in its one encoding"))?;
    Ok((origin, series))
}

/// Partition 22 ‖ origin's series 42: as in the signed header.
pub(super) fn series(key: &SeriesKey) -> [u8; SERIES] {
    let mut out = [0; SERIES];
    out[..PARTITION].copy_from_slice(&partition(key.stream_partition));
    out[PARTITION..].copy_from_slice(&member((key.origin, key.series)));
    out
}

pub(super) fn read_series(bytes: capnp::Result<&[u8]>) -> Result<SeriesKey, Stop> {
    let (at, rest) = bytes
        .map_err(head_error)?
        .split_at_checked(PARTITION)
        .ok_or_else(|| malformed("a series has 64 bytes"))?;
    let (origin, series) = read_member(Ok(rest))?;
    Ok(SeriesKey { stream_partition: read_partition(Ok(at))?, origin, series })
}

pub(super) fn read_batch_id(bytes: capnp::Result<&[u8]>) -> Result<BatchId, Stop> {
    BatchId::from_slice(bytes.map_err(head_error)?).ok_or_else(|| malformed("a batch id has 32 bytes"))
}

pub(super) fn read_address(bytes: capnp::Result<&[u8]>) -> Result<Address, Stop> {
    Address::from_slice(bytes.map_err(head_error)?).map_err(|_| malformed("an address has 20 bytes"))
}

pub(super) fn read_cursor(bytes: capnp::Result<&[u8]>) -> Result<Cursor, Stop> {
    Cursor::decode(bytes.map_err(head_error)?).map_err(|_| malformed("a cursor is none"))
}

pub(super) fn write_head(mut slot: wire::head::Builder<'_>, key: &SeriesKey, head: &SeriesHead) {
    slot.set_series(&series(key));
    slot.set_next_sequence(head.next_sequence);
    slot.set_last(&head.last.0);
    slot.set_timestamp(head.timestamp);
    slot.set_frozen(head.frozen);
}

pub(super) fn read_head(head: wire::head::Reader<'_>) -> Result<(SeriesKey, SeriesHead), Stop> {
    let key = read_series(head.get_series())?;
    let head = SeriesHead {
        next_sequence: head.get_next_sequence(),
        last: read_batch_id(head.get_last())?,
        timestamp: head.get_timestamp(),
        frozen: head.get_frozen(),
    };
    Ok((key, head))
}

pub(super) fn write_digest(mut slot: wire::digest::Builder<'_>, digest: &HeadsDigest) {
    slot.set_count(digest.count);
    slot.set_hash(&digest.hash);
}

pub(super) fn read_digest(digest: capnp::Result<wire::digest::Reader<'_>>) -> Result<HeadsDigest, Stop> {
    let digest = digest.map_err(head_error)?;
    let hash = digest.get_hash().map_err(head_error)?;
    let hash = hash.try_into().map_err(|_| malformed("a digest has 32 bytes"))?;
    Ok(HeadsDigest { count: digest.get_count(), hash })
}

pub(super) fn write_range(mut slot: wire::range::Builder<'_>, range: &SeriesRange) {
    slot.set_at(&partition(range.at));
    slot.set_first(&member(range.first));
    slot.set_last(&member(range.last));
}

pub(super) fn read_range(range: capnp::Result<wire::range::Reader<'_>>) -> Result<SeriesRange, Stop> {
    let range = range.map_err(head_error)?;
    Ok(SeriesRange {
        at: read_partition(range.get_at())?,
        first: read_member(range.get_first())?,
        last: read_member(range.get_last())?,
    })
}

pub(super) fn write_filter(mut slot: wire::filter::Builder<'_>, filter: &ReadFilter) {
    if let Some(origin) = filter.origin {
        slot.set_origin(&origin.to_bytes());
    }
    slot.set_from(filter.from);
    slot.set_to(filter.to);
}

pub(super) fn read_filter(filter: capnp::Result<wire::filter::Reader<'_>>) -> Result<ReadFilter, Stop> {
    let filter = filter.map_err(head_error)?;
    let origin = match filter.get_origin().map_err(head_error)? {
        [] => None,
        bytes => {
            let origin = bytes.try_into().ok().and_then(Origin::from_bytes);
            Some(origin.ok_or_else(|| malformed("an origin is not in its one encoding"))?)
        }
    };
    Ok(ReadFilter { origin, from: filter.get_from(), to: filter.get_to() })
}

/// A code that this version does not know becomes `OVERLOADED`, which promises nothing, and is told in the sentence.
pub(super) fn read_refusal(error: capnp::Result<error_capnp::error::Reader<'_>>) -> Result<Refusal, Stop> {
    let error = error.map_err(head_error)?;
    let text = |text: capnp::Result<capnp::text::Reader<'_>>, bytes_max: usize| -> Result<String, Stop> {
        let text = text.map_err(head_error)?;
        if text.len() > bytes_max {
            return Err(malformed("a refusal is too long"));
        }
        text.to_string().map_err(|_| malformed("a refusal is not UTF-8"))
    };
    let code = text(error.get_code(), CODE_BYTES_MAX)?;
    let message = text(error.get_message(), MESSAGE_BYTES_MAX)?;
    Ok(match Code::from_wire(&code) {
        Some(code) => Refusal::new(code, message),
        None => Refusal::new(Code::Overloaded, format!("{code}: {message}")),
    })
}
