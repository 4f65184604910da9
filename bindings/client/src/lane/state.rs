use super::Ticket;
use crate::ClientError;
use mainstem_model::{AckLevel, Batch, NewEvent, SeriesId, limits};
use std::{collections::VecDeque, mem, sync::Arc, time::Instant};

/// What a lane has taken and not seen acked.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) open: Open,
    /// Batches that are being sealed.
    pub(super) sealing: usize,
    /// Sealed and not acked, in order; the first has number `first`.
    pub(super) items: VecDeque<Item>,
    pub(super) first: u64,
    /// So many of `items` were sent, or need not be.
    pub(super) sent: usize,
    /// Sent and not answered.
    pub(super) outstanding: usize,
    /// Bytes of events that are not acked.
    pub(super) bytes: usize,
    /// The lane waits in the queue of those with something to send.
    pub(super) queued: bool,
    /// Something was refused for now: when all answers are there, everything is sent again from the first on.
    pub(super) rewinding: bool,
    /// Wait before that.
    pub(super) delay: bool,
    /// Acked batches that a broker may lose in a crash, up to `first`.
    pub(super) retained: VecDeque<Batch>,
    pub(super) retained_bytes: usize,
    /// Batches to bring back at the next refusal for a gap; doubles until one is acked.
    pub(super) bring_back_next: usize,
    /// A batch was refused for its age since the last series began: what is kept before it is older still.
    pub(super) too_old: bool,
    /// Series that can not go on: what is left of them is sealed anew in others.
    pub(super) broken: Vec<SeriesId>,
    /// That is being done.
    pub(super) restarting: bool,
    /// Why events were refused since the last flush, although the lane goes on.
    pub(super) refused: Option<ClientError>,
    pub(super) failed: Option<ClientError>,
    /// Batches handed to sealing so far.
    pub(super) cut: u64,
    /// The linger task waits for an open batch.
    pub(super) parked: bool,
}

/// The batch that is filling.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) events: Vec<NewEvent>,
    pub(super) bytes: usize,
    pub(super) least: i64,
    pub(super) greatest: i64,
    pub(super) since: Option<Instant>,
    pub(super) ticket: Arc<Ticket>,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) batch: Batch,
    /// None for one that was acked before.
    pub(super) ticket: Option<Arc<Ticket>>,
    pub(super) bytes: usize,
    /// The request that it was sent with; 0 when it is to be sent.
    pub(super) request: u64,
    pub(super) acked: bool,
    /// Refused for itself alone: as good as acked for those behind it, but not kept.
    pub(super) lost: bool,
}

impl Item {
    pub(super) const fn new(batch: Batch, ticket: Option<Arc<Ticket>>, bytes: usize) -> Self {
        Self { batch, ticket, bytes, request: 0, acked: false, lost: false }
    }
}

impl State {
    /// Nothing is to be sent now.
    pub(super) const fn is_held(&self) -> bool {
        self.rewinding || self.restarting || !self.broken.is_empty()
    }

    pub(super) fn breaks(&mut self, series: SeriesId) {
        if !self.broken.contains(&series) {
            self.broken.push(series);
        }
        self.rewinding = true;
    }

    /// Lets go of what is acked at the front.
    pub(super) fn settle(&mut self, level: AckLevel, retained_bytes_max: usize) {
        while self.items.front().is_some_and(|item| item.acked) {
            let Some(item) = self.items.pop_front() else { break };
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(item.bytes);
            if !item.lost {
                self.retain(item.batch, level, retained_bytes_max);
            }
        }
    }

    pub(super) fn item(&mut self, serial: u64) -> Option<&mut Item> {
        let place = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        self.items.get_mut(place)
    }

    /// Takes the filling batch for sealing.
    pub(super) fn take_open(&mut self) -> Open {
        let room = self.open.events.len().min(limits::EVENTS_PER_BATCH_MAX);
        let next = Open { events: Vec::with_capacity(room), ..Open::default() };
        self.sealing += 1;
        self.cut += 1;
        mem::replace(&mut self.open, next)
    }

    pub(super) fn retain(&mut self, batch: Batch, level: AckLevel, bytes_max: usize) {
        if level == AckLevel::Durable {
            // fsync covers everything before it.
            return self.forget_retained();
        }
        self.retained_bytes += batch.bytes().len();
        self.retained.push_back(batch);
        while self.retained_bytes > bytes_max
            && let Some(oldest) = self.retained.pop_front()
        {
            self.retained_bytes -= oldest.bytes().len();
        }
    }

    /// Puts the last acked batches before the others again, to be sent once more; `false` when there are none.
    ///
    /// IMPORTANT: twice as many as the time before and not all that is kept: a slow publisher's reach back for hours, and
    /// only the last seconds can be missing.
    pub(super) fn bring_back(&mut self) -> bool {
        let Some(series) = self.items.front().map(|item| item.batch.header().series) else { return false };
        let count = self.bring_back_next.max(1);
        self.bring_back_next = count.saturating_mul(2);
        let mut brought = 0;
        while brought < count
            && let Some(batch) = self.retained.pop_back()
        {
            self.retained_bytes = self.retained_bytes.saturating_sub(batch.bytes().len());
            if batch.header().series == series {
                brought += 1;
                self.first = self.first.saturating_sub(1);
                self.items.push_front(Item::new(batch, None, 0));
            }
        }
        brought > 0
    }

    pub(super) fn forget_retained(&mut self) {
        self.retained.clear();
        self.retained_bytes = 0;
    }
}
