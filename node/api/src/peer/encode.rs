use super::{BODY_BYTES_MAX, HEAD_BYTES_MAX, PREFIX_BYTES, field};
use crate::frame::{error_words, write_error};
use bytes::{BufMut, Bytes, BytesMut};
use capnp::message::{Builder, HeapAllocator};
use mainstem_model::{HeadsSummary, ReadStart, SeriesHead, SeriesKey};
use mainstem_protocol::{Page, PeerMessage, SeriesFrom};
use mainstem_schema::peer_capnp as wire;

/// A message over a bound of what brokers tell each other: a peer would take it for malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of a message has {count}, at most {max} can be told")]
pub struct Unsendable {
    /// Which of its lists, or its bytes.
    pub what: &'static str,
    /// How many there are.
    pub count: usize,
    /// How many there may be.
    pub max: usize,
}

/// The frame of a message. Copies the batches of it once.
///
/// # Errors
/// [`Unsendable`]: whoever made the message passed over a bound of [`PeerMessage`].
pub fn encode(message: &PeerMessage) -> Result<Bytes, Unsendable> {
    check(message)?;
    // IMPORTANT: the first segment is large enough by `words`, so there is one.
    let mut builder = Builder::new(HeapAllocator::new().first_segment_words(words(message)));
    write(builder.init_root::<wire::peer_frame::Builder<'_>>(), message);
    let segments = builder.get_segments_for_output();
    debug_assert_eq!(segments.len(), 1);
    let segment = segments[0];
    let head = 8 + segment.len();
    let body = batches(message);
    let body_bytes = body.clone().map(Bytes::len).sum();
    bound("the head", head, HEAD_BYTES_MAX)?;
    bound("the body", body_bytes, BODY_BYTES_MAX)?;
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + head + body_bytes);
    // Bounded just now, so both fit 32 bits.
    out.put_u32_le(head as u32);
    out.put_u32_le(0);
    out.put_u32_le((segment.len() / 8) as u32);
    out.put_slice(segment);
    body.for_each(|batch| out.put_slice(batch));
    Ok(out.freeze())
}

fn check(message: &PeerMessage) -> Result<(), Unsendable> {
    match message {
        PeerMessage::Heads { heads } => bound("heads", heads.len(), PeerMessage::HEADS_MAX),
        PeerMessage::Compared { summary: HeadsSummary::Heads(heads), .. } => {
            bound("heads", heads.len(), PeerMessage::HEADS_MAX)
        }
        PeerMessage::Compared { summary: HeadsSummary::Parts(parts), .. } => {
            bound("parts", parts.len(), PeerMessage::PARTS_MAX)
        }
        PeerMessage::NotFollowed { instead, .. } => bound("instead", instead.len(), PeerMessage::INSTEAD_MAX),
        PeerMessage::Followed { path, .. } => bound("path", path.len(), PeerMessage::PATH_MAX),
        PeerMessage::Inventoried { partitions, .. } => {
            bound("partitions", partitions.len(), PeerMessage::INVENTORIED_MAX)
        }
        PeerMessage::PageOf { result: Ok(page), .. } => {
            bound("batches", page.batches.len(), PeerMessage::PAGE_BATCHES_MAX)
        }
        PeerMessage::Hello { .. }
        | PeerMessage::Store { .. }
        | PeerMessage::Held { .. }
        | PeerMessage::NotHeld { .. }
        | PeerMessage::Follow { .. }
        | PeerMessage::Unfollow { .. }
        | PeerMessage::Feed { .. }
        | PeerMessage::Fed { .. }
        | PeerMessage::Pull { .. }
        | PeerMessage::Pulled { .. }
        | PeerMessage::PullEnd { .. }
        | PeerMessage::Inventory { .. }
        | PeerMessage::Compare { .. }
        | PeerMessage::Proof { .. }
        | PeerMessage::Resolve { .. }
        | PeerMessage::Resolved { .. }
        | PeerMessage::Read { .. }
        | PeerMessage::PageOf { result: Err(_), .. } => Ok(()),
    }
}

const fn bound(what: &'static str, count: usize, max: usize) -> Result<(), Unsendable> {
    if count <= max { Ok(()) } else { Err(Unsendable { what, count, max }) }
}

/// The batches behind the head.
fn batches(message: &PeerMessage) -> impl Iterator<Item = &Bytes> + Clone {
    let (first, second, page): (Option<&Bytes>, Option<&Bytes>, &[_]) = match message {
        PeerMessage::Store { batch, .. } => (Some(batch.bytes()), None, &[]),
        PeerMessage::Feed { batch } | PeerMessage::Pulled { batch, .. } => (Some(batch.bytes()), None, &[]),
        PeerMessage::Proof { first, second } => (Some(first.bytes()), Some(second.bytes()), &[]),
        PeerMessage::PageOf { result: Ok(page), .. } => (None, None, &page.batches),
        PeerMessage::Hello { .. }
        | PeerMessage::Held { .. }
        | PeerMessage::NotHeld { .. }
        | PeerMessage::Follow { .. }
        | PeerMessage::Followed { .. }
        | PeerMessage::NotFollowed { .. }
        | PeerMessage::Unfollow { .. }
        | PeerMessage::Fed { .. }
        | PeerMessage::Heads { .. }
        | PeerMessage::Pull { .. }
        | PeerMessage::PullEnd { .. }
        | PeerMessage::Inventory { .. }
        | PeerMessage::Inventoried { .. }
        | PeerMessage::Compare { .. }
        | PeerMessage::Compared { .. }
        | PeerMessage::Resolve { .. }
        | PeerMessage::Resolved { .. }
        | PeerMessage::Read { .. }
        | PeerMessage::PageOf { result: Err(_), .. } => (None, None, &[]),
    };
    first.into_iter().chain(second).chain(page.iter().map(|batch| &batch.bytes))
}

/// Words that surely hold the head.
fn words(message: &PeerMessage) -> u32 {
    let lists = match message {
        // The entry, the series and the batch id.
        PeerMessage::Heads { heads } | PeerMessage::Compared { summary: HeadsSummary::Heads(heads), .. } => {
            17 * heads.len()
        }
        PeerMessage::Compared { summary: HeadsSummary::Parts(parts), .. } => 28 * parts.len(),
        PeerMessage::Inventoried { partitions, .. } => 12 * partitions.len(),
        PeerMessage::Followed { path, .. } => 4 * path.len(),
        PeerMessage::NotFollowed { instead, refusal, .. } => 4 * instead.len() + error_words(refusal),
        // A cursor has less than 10 words.
        PeerMessage::PageOf { result: Ok(page), .. } => 13 * page.batches.len(),
        PeerMessage::NotHeld { refusal, .. }
        | PeerMessage::PullEnd { result: Err(refusal), .. }
        | PeerMessage::Resolved { result: Err(refusal), .. }
        | PeerMessage::PageOf { result: Err(refusal), .. } => error_words(refusal),
        PeerMessage::Hello { .. }
        | PeerMessage::Store { .. }
        | PeerMessage::Held { .. }
        | PeerMessage::Follow { .. }
        | PeerMessage::Unfollow { .. }
        | PeerMessage::Feed { .. }
        | PeerMessage::Fed { .. }
        | PeerMessage::Pull { .. }
        | PeerMessage::Pulled { .. }
        | PeerMessage::PullEnd { result: Ok(_), .. }
        | PeerMessage::Inventory { .. }
        | PeerMessage::Compare { .. }
        | PeerMessage::Proof { .. }
        | PeerMessage::Resolve { .. }
        | PeerMessage::Resolved { result: Ok(_), .. }
        | PeerMessage::Read { .. } => 0,
    };
    // Root, structs and fixed fields of any message take less. The lists were bounded, so all fits 32 bits.
    64 + lists as u32
}

fn write(mut root: wire::peer_frame::Builder<'_>, message: &PeerMessage) {
    match message {
        PeerMessage::Hello { log, epoch, ready } => {
            let mut slot = root.init_hello();
            slot.set_log(*log);
            slot.set_epoch(*epoch);
            slot.set_ready(*ready);
        }
        PeerMessage::Store { durable, .. } => root.init_store().set_durable(*durable),
        PeerMessage::Held { series, next_sequence, last, durable } => {
            let mut slot = root.init_held();
            slot.set_series(&field::series(series));
            slot.set_next_sequence(*next_sequence);
            slot.set_last(&last.0);
            slot.set_durable(*durable);
        }
        PeerMessage::NotHeld { series, batch, refusal } => {
            let mut slot = root.init_not_held();
            slot.set_series(&field::series(series));
            slot.set_batch(&batch.0);
            write_error(slot.init_error(), refusal);
        }
        PeerMessage::Follow { at, full, since_ms } => {
            let mut slot = root.init_follow();
            slot.set_at(&field::partition(*at));
            slot.set_full(*full);
            slot.set_since_ms(*since_ms);
        }
        PeerMessage::Followed { at, full, path } => {
            let mut slot = root.init_followed();
            slot.set_at(&field::partition(*at));
            slot.set_full(*full);
            let mut list = slot.init_path(path.len() as u32);
            for (index, broker) in (0..).zip(path) {
                list.set(index, broker.as_bytes());
            }
        }
        PeerMessage::NotFollowed { at, refusal, instead } => {
            let mut slot = root.init_not_followed();
            slot.set_at(&field::partition(*at));
            write_error(slot.reborrow().init_error(), refusal);
            let mut list = slot.init_instead(instead.len() as u32);
            for (index, broker) in (0..).zip(instead) {
                list.set(index, broker.as_bytes());
            }
        }
        PeerMessage::Unfollow { at } => root.set_unfollow(&field::partition(*at)),
        PeerMessage::Feed { .. } => root.set_feed(()),
        PeerMessage::Fed { at, bytes } => {
            let mut slot = root.init_fed();
            slot.set_at(&field::partition(*at));
            slot.set_bytes(*bytes);
        }
        PeerMessage::Heads { heads } => write_heads(root.init_heads(heads.len() as u32), heads),
        PeerMessage::Pull { pull, series, from, until, bytes_max } => {
            let mut slot = root.init_pull();
            slot.set_pull(*pull);
            slot.set_series(&field::series(series));
            slot.set_until(*until);
            slot.set_bytes_max(*bytes_max);
            match from {
                SeriesFrom::Sequence(sequence) => slot.init_from().set_sequence(*sequence),
                SeriesFrom::Age(age_ms) => slot.init_from().set_age_ms(*age_ms),
            }
        }
        PeerMessage::Pulled { pull, .. } => root.set_pulled(*pull),
        PeerMessage::PullEnd { pull, result } => {
            let mut slot = root.init_pull_end();
            slot.set_pull(*pull);
            match result {
                Ok(end) => {
                    let mut done = slot.init_result().init_done();
                    done.set_base(end.base);
                    done.set_more(end.more);
                }
                Err(refusal) => write_error(slot.init_result().init_error(), refusal),
            }
        }
        PeerMessage::Inventory { ask, after } => {
            let mut slot = root.init_inventory();
            slot.set_ask(*ask);
            if let Some(after) = after {
                slot.set_after(&field::partition(*after));
            }
        }
        PeerMessage::Inventoried { ask, partitions, more } => {
            let mut slot = root.init_inventoried();
            slot.set_ask(*ask);
            slot.set_more(*more);
            let mut list = slot.init_partitions(partitions.len() as u32);
            for (index, (at, digest)) in (0..).zip(partitions) {
                let mut entry = list.reborrow().get(index);
                entry.set_at(&field::partition(*at));
                field::write_digest(entry.init_digest(), digest);
            }
        }
        PeerMessage::Compare { ask, range } => {
            let mut slot = root.init_compare();
            slot.set_ask(*ask);
            field::write_range(slot.init_range(), range);
        }
        PeerMessage::Compared { ask, summary } => {
            let mut slot = root.init_compared();
            slot.set_ask(*ask);
            match summary {
                HeadsSummary::Heads(heads) => {
                    write_heads(slot.init_summary().init_heads(heads.len() as u32), heads);
                }
                HeadsSummary::Parts(parts) => {
                    let mut list = slot.init_summary().init_parts(parts.len() as u32);
                    for (index, (range, digest)) in (0..).zip(parts) {
                        let mut part = list.reborrow().get(index);
                        field::write_range(part.reborrow().init_range(), range);
                        field::write_digest(part.init_digest(), digest);
                    }
                }
            }
        }
        // A batch has far less than 2^32 bytes.
        PeerMessage::Proof { first, .. } => root.set_proof(first.bytes().len() as u32),
        PeerMessage::Resolve { read, at, start, filter } => {
            let mut slot = root.init_resolve();
            slot.set_read(*read);
            slot.set_at(&field::partition(*at));
            field::write_filter(slot.reborrow().init_filter(), filter);
            let mut slot = slot.init_start();
            match start {
                ReadStart::Now => slot.set_now(()),
                ReadStart::Last(count) => slot.set_last(*count),
                ReadStart::From => slot.set_from(()),
                ReadStart::Cursor(cursor) => slot.set_cursor(&cursor.encode()),
            }
        }
        PeerMessage::Resolved { read, result } => {
            let mut slot = root.init_resolved();
            slot.set_read(*read);
            match result {
                Ok(cursor) => slot.init_result().set_cursor(&cursor.encode()),
                Err(refusal) => write_error(slot.init_result().init_error(), refusal),
            }
        }
        PeerMessage::Read { read, at, cursor, filter, bytes_max } => {
            let mut slot = root.init_read();
            slot.set_read(*read);
            slot.set_at(&field::partition(*at));
            slot.set_cursor(&cursor.encode());
            slot.set_bytes_max(*bytes_max);
            field::write_filter(slot.init_filter(), filter);
        }
        PeerMessage::PageOf { read, result } => {
            let mut slot = root.init_page_of();
            slot.set_read(*read);
            match result {
                Ok(page) => write_page(slot.init_result().init_page(), page),
                Err(refusal) => write_error(slot.init_result().init_error(), refusal),
            }
        }
    }
}

fn write_heads(
    mut list: capnp::struct_list::Builder<'_, wire::head::Owned>,
    heads: &[(SeriesKey, SeriesHead)],
) {
    for (index, (key, head)) in (0..).zip(heads) {
        field::write_head(list.reborrow().get(index), key, head);
    }
}

fn write_page(mut slot: wire::page::Builder<'_>, page: &Page) {
    slot.set_next(&page.next.encode());
    slot.set_at_end(page.at_end);
    slot.set_damaged(page.damaged);
    let mut list = slot.init_batches(page.batches.len() as u32);
    for (index, batch) in (0..).zip(&page.batches) {
        let mut entry = list.reborrow().get(index);
        entry.set_bytes(batch.bytes.len() as u32);
        entry.set_cursor(&batch.cursor.encode());
        entry.set_received_at(batch.received_at);
    }
}
