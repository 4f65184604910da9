use super::{BODY_BYTES_MAX, FRAME_BYTES_MAX, HEAD_BYTES_MAX, field, unproven::Kind};
use crate::peer::Unproven;
use bytes::{Buf, Bytes};
use capnp::{NotInSchema, message::ReaderOptions, serialize};
use mainstem_model::{HeadsSummary, ReadStart, SeriesHead, SeriesKey, limits};
use mainstem_protocol::{Page, PastBatch, PeerFault, PeerMessage, PullEnd, SeriesFrom};
use mainstem_schema::peer_capnp as wire;

/// Why nothing came of a frame.
#[derive(Debug)]
pub(super) enum Stop {
    Fault(PeerFault),
    /// A kind, of a message or within one, that this version does not know.
    Unknown,
}

impl From<NotInSchema> for Stop {
    fn from(_: NotInSchema) -> Self {
        Self::Unknown
    }
}

/// Reads a frame of another broker; `None` when it is of a kind that this version does not know. Batches share the
/// frame's memory.
///
/// # Errors
/// [`PeerFault::Malformed`].
pub fn decode(frame: Bytes) -> Result<Option<Unproven>, PeerFault> {
    match read(frame) {
        Ok(kind) => Ok(Some(Unproven(kind))),
        Err(Stop::Unknown) => Ok(None),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

pub(super) const fn fault(why: &'static str) -> PeerFault {
    PeerFault::Malformed(why)
}

pub(super) const fn malformed(why: &'static str) -> Stop {
    Stop::Fault(fault(why))
}

pub(super) fn head_error(_: capnp::Error) -> Stop {
    malformed("the head is not a Cap'n Proto peer frame")
}

fn read(mut frame: Bytes) -> Result<Kind, Stop> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(malformed("the frame is too long"));
    }
    let head_bytes =
        frame.try_get_u32_le().map_err(|_| malformed("a frame begins with its head's length"))?;
    let head_bytes = head_bytes as usize;
    if head_bytes > HEAD_BYTES_MAX {
        return Err(malformed("the head is too long"));
    }
    if head_bytes > frame.len() {
        return Err(malformed("the head is longer than the frame"));
    }
    let head = frame.split_to(head_bytes);
    if frame.len() > BODY_BYTES_MAX {
        return Err(malformed("the body is too long"));
    }
    let mut options = ReaderOptions::new();
    // Every byte may be read twice at most: pointers cannot make a small head look large.
    options.traversal_limit_in_words(Some(head.len() / 4 + 16)).nesting_limit(8);
    let mut rest = &head[..];
    let message = serialize::read_message_from_flat_slice_no_alloc(&mut rest, options).map_err(head_error)?;
    if !rest.is_empty() {
        return Err(malformed("there are bytes behind the head"));
    }
    let root = message.get_root::<wire::peer_frame::Reader<'_>>().map_err(head_error)?;
    let mut body = Body(frame);
    let kind = read_kind(root.which()?, &mut body)?;
    if !body.0.is_empty() {
        return Err(malformed("there are bytes behind the batches"));
    }
    Ok(kind)
}

/// What is left of the batches.
struct Body(Bytes);

impl Body {
    fn take(&mut self, bytes: usize) -> Result<Bytes, Stop> {
        if bytes == 0 || bytes > limits::BATCH_BYTES_MAX {
            return Err(malformed("a batch's length is out of bounds"));
        }
        if bytes > self.0.len() {
            return Err(malformed("the body ends within a batch"));
        }
        Ok(self.0.split_to(bytes))
    }

    fn rest(&mut self) -> Result<Bytes, Stop> {
        self.take(self.0.len())
    }
}

fn read_kind(kind: wire::peer_frame::WhichReader<'_>, body: &mut Body) -> Result<Kind, Stop> {
    use wire::peer_frame as frame;
    Ok(match kind {
        frame::Store(store) => {
            Kind::Store { durable: store.map_err(head_error)?.get_durable(), batch: body.rest()? }
        }
        frame::Feed(()) => Kind::Feed { batch: body.rest()? },
        frame::Pulled(pull) => Kind::Pulled { pull, batch: body.rest()? },
        frame::Proof(bytes) => Kind::Proof { first: body.take(bytes as usize)?, second: body.rest()? },
        frame::PageOf(answer) => read_page_of(answer.map_err(head_error)?, body)?,
        frame::Hello(_)
        | frame::Held(_)
        | frame::NotHeld(_)
        | frame::Follow(_)
        | frame::Followed(_)
        | frame::NotFollowed(_)
        | frame::Unfollow(_)
        | frame::Fed(_)
        | frame::Heads(_)
        | frame::Pull(_)
        | frame::PullEnd(_)
        | frame::Inventory(_)
        | frame::Inventoried(_)
        | frame::Compare(_)
        | frame::Compared(_)
        | frame::Resolve(_)
        | frame::Resolved(_)
        | frame::Read(_) => Kind::Plain(read_plain(kind)?),
    })
}

fn read_plain(kind: wire::peer_frame::WhichReader<'_>) -> Result<PeerMessage, Stop> {
    use wire::peer_frame as frame;
    Ok(match kind {
        frame::Hello(hello) => {
            let hello = hello.map_err(head_error)?;
            PeerMessage::Hello { log: hello.get_log(), epoch: hello.get_epoch(), ready: hello.get_ready() }
        }
        frame::Held(held) => {
            let held = held.map_err(head_error)?;
            PeerMessage::Held {
                series: field::read_series(held.get_series())?,
                next_sequence: held.get_next_sequence(),
                last: field::read_batch_id(held.get_last())?,
                durable: held.get_durable(),
            }
        }
        frame::NotHeld(not_held) => {
            let not_held = not_held.map_err(head_error)?;
            PeerMessage::NotHeld {
                series: field::read_series(not_held.get_series())?,
                batch: field::read_batch_id(not_held.get_batch())?,
                refusal: field::read_refusal(not_held.get_error())?,
            }
        }
        frame::Follow(follow) => {
            let follow = follow.map_err(head_error)?;
            PeerMessage::Follow {
                at: field::read_partition(follow.get_at())?,
                full: follow.get_full(),
                since_ms: follow.get_since_ms(),
            }
        }
        frame::Followed(followed) => {
            let followed = followed.map_err(head_error)?;
            let path = followed.get_path().map_err(head_error)?;
            check_length(path.len(), PeerMessage::PATH_MAX)?;
            PeerMessage::Followed {
                at: field::read_partition(followed.get_at())?,
                full: followed.get_full(),
                path: path.iter().map(field::read_address).collect::<Result<_, _>>()?,
            }
        }
        frame::NotFollowed(not_followed) => read_not_followed(not_followed.map_err(head_error)?)?,
        frame::Unfollow(at) => PeerMessage::Unfollow { at: field::read_partition(at)? },
        frame::Fed(fed) => {
            let fed = fed.map_err(head_error)?;
            PeerMessage::Fed { at: field::read_partition(fed.get_at())?, bytes: fed.get_bytes() }
        }
        frame::Heads(heads) => PeerMessage::Heads { heads: read_heads(heads)? },
        frame::Pull(pull) => read_pull(pull.map_err(head_error)?)?,
        frame::PullEnd(end) => read_pull_end(end.map_err(head_error)?)?,
        frame::Inventory(inventory) => {
            let inventory = inventory.map_err(head_error)?;
            let after = match inventory.get_after().map_err(head_error)? {
                [] => None,
                after => Some(field::read_partition(Ok(after))?),
            };
            PeerMessage::Inventory { ask: inventory.get_ask(), after }
        }
        frame::Inventoried(inventoried) => read_inventoried(inventoried.map_err(head_error)?)?,
        frame::Compare(compare) => {
            let compare = compare.map_err(head_error)?;
            PeerMessage::Compare { ask: compare.get_ask(), range: field::read_range(compare.get_range())? }
        }
        frame::Compared(compared) => read_compared(compared.map_err(head_error)?)?,
        frame::Resolve(resolve) => read_resolve(resolve.map_err(head_error)?)?,
        frame::Resolved(resolved) => {
            let resolved = resolved.map_err(head_error)?;
            let result = match resolved.get_result().which()? {
                wire::resolved::result::Cursor(cursor) => Ok(field::read_cursor(cursor)?),
                wire::resolved::result::Error(error) => Err(field::read_refusal(error)?),
            };
            PeerMessage::Resolved { read: resolved.get_read(), result }
        }
        frame::Read(read) => {
            let read = read.map_err(head_error)?;
            PeerMessage::Read {
                read: read.get_read(),
                at: field::read_partition(read.get_at())?,
                cursor: field::read_cursor(read.get_cursor())?,
                filter: field::read_filter(read.get_filter())?,
                bytes_max: read.get_bytes_max(),
            }
        }
        frame::Store(_) | frame::Feed(()) | frame::Pulled(_) | frame::Proof(_) | frame::PageOf(_) => {
            return Err(malformed("the message has batches"));
        }
    })
}

fn read_not_followed(not_followed: wire::not_followed::Reader<'_>) -> Result<PeerMessage, Stop> {
    let list = not_followed.get_instead().map_err(head_error)?;
    check_length(list.len(), PeerMessage::INSTEAD_MAX)?;
    Ok(PeerMessage::NotFollowed {
        at: field::read_partition(not_followed.get_at())?,
        refusal: field::read_refusal(not_followed.get_error())?,
        instead: list.iter().map(field::read_address).collect::<Result<_, _>>()?,
    })
}

fn read_pull(pull: wire::pull::Reader<'_>) -> Result<PeerMessage, Stop> {
    let from = match pull.get_from().which()? {
        wire::pull::from::Sequence(sequence) => SeriesFrom::Sequence(sequence),
        wire::pull::from::AgeMs(age_ms) => SeriesFrom::Age(age_ms),
    };
    Ok(PeerMessage::Pull {
        pull: pull.get_pull(),
        series: field::read_series(pull.get_series())?,
        from,
        until: pull.get_until(),
        bytes_max: pull.get_bytes_max(),
    })
}

fn read_pull_end(end: wire::pull_end::Reader<'_>) -> Result<PeerMessage, Stop> {
    let result = match end.get_result().which()? {
        wire::pull_end::result::Done(done) => {
            let done = done.map_err(head_error)?;
            Ok(PullEnd { base: done.get_base(), more: done.get_more() })
        }
        wire::pull_end::result::Error(error) => Err(field::read_refusal(error)?),
    };
    Ok(PeerMessage::PullEnd { pull: end.get_pull(), result })
}

fn read_inventoried(inventoried: wire::inventoried::Reader<'_>) -> Result<PeerMessage, Stop> {
    let list = inventoried.get_partitions().map_err(head_error)?;
    check_length(list.len(), PeerMessage::INVENTORIED_MAX)?;
    let entry = |entry: wire::partition_digest::Reader<'_>| -> Result<_, Stop> {
        Ok((field::read_partition(entry.get_at())?, field::read_digest(entry.get_digest())?))
    };
    Ok(PeerMessage::Inventoried {
        ask: inventoried.get_ask(),
        partitions: list.iter().map(entry).collect::<Result<_, _>>()?,
        more: inventoried.get_more(),
    })
}

fn read_compared(compared: wire::compared::Reader<'_>) -> Result<PeerMessage, Stop> {
    let summary = match compared.get_summary().which()? {
        wire::compared::summary::Heads(heads) => HeadsSummary::Heads(read_heads(heads)?),
        wire::compared::summary::Parts(parts) => {
            let list = parts.map_err(head_error)?;
            check_length(list.len(), PeerMessage::PARTS_MAX)?;
            let part = |part: wire::part::Reader<'_>| -> Result<_, Stop> {
                Ok((field::read_range(part.get_range())?, field::read_digest(part.get_digest())?))
            };
            HeadsSummary::Parts(list.iter().map(part).collect::<Result<_, _>>()?)
        }
    };
    Ok(PeerMessage::Compared { ask: compared.get_ask(), summary })
}

fn read_heads(
    heads: capnp::Result<capnp::struct_list::Reader<'_, wire::head::Owned>>,
) -> Result<Vec<(SeriesKey, SeriesHead)>, Stop> {
    let list = heads.map_err(head_error)?;
    check_length(list.len(), PeerMessage::HEADS_MAX)?;
    list.iter().map(field::read_head).collect()
}

fn read_resolve(resolve: wire::resolve::Reader<'_>) -> Result<PeerMessage, Stop> {
    use wire::resolve::start;
    let start = match resolve.get_start().which()? {
        start::Now(()) => ReadStart::Now,
        start::Last(count) => ReadStart::Last(count),
        start::From(()) => ReadStart::From,
        start::Cursor(cursor) => ReadStart::Cursor(field::read_cursor(cursor)?),
    };
    Ok(PeerMessage::Resolve {
        read: resolve.get_read(),
        at: field::read_partition(resolve.get_at())?,
        start,
        filter: field::read_filter(resolve.get_filter())?,
    })
}

fn read_page_of(answer: wire::page_of::Reader<'_>, body: &mut Body) -> Result<Kind, Stop> {
    let read = answer.get_read();
    let page = match answer.get_result().which()? {
        wire::page_of::result::Page(page) => page.map_err(head_error)?,
        wire::page_of::result::Error(error) => {
            let result = Err(field::read_refusal(error)?);
            return Ok(Kind::Plain(PeerMessage::PageOf { read, result }));
        }
    };
    let list = page.get_batches().map_err(head_error)?;
    check_length(list.len(), PeerMessage::PAGE_BATCHES_MAX)?;
    let batch = |entry: wire::past_batch::Reader<'_>| -> Result<_, Stop> {
        Ok(PastBatch {
            bytes: body.take(entry.get_bytes() as usize)?,
            cursor: field::read_cursor(entry.get_cursor())?,
            count: 0,
            received_at: entry.get_received_at(),
        })
    };
    let page = Page {
        batches: list.iter().map(batch).collect::<Result<_, _>>()?,
        next: field::read_cursor(page.get_next())?,
        at_end: page.get_at_end(),
        damaged: page.get_damaged(),
    };
    Ok(Kind::PageOf { read, page })
}

fn check_length(length: u32, max: usize) -> Result<(), Stop> {
    if length as usize > max { Err(malformed("a list is too long")) } else { Ok(()) }
}
