use super::Ticket;
use crate::ClientError;
use mainstem_model::{AckLevel, Batch, NewEvent, limits};
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
}

impl State {
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
            self.retained.clear();
            self.retained_bytes = 0;
            return;
        }
        self.retained_bytes += batch.bytes().len();
        self.retained.push_back(batch);
        while self.retained_bytes > bytes_max
            && let Some(oldest) = self.retained.pop_front()
        {
            self.retained_bytes -= oldest.bytes().len();
        }
    }

    /// Puts acked batches before the others again, to be sent once more; `false` when there are none.
    pub(super) fn bring_back(&mut self) -> bool {
        let Some(series) = self.items.front().map(|item| item.batch.header().series) else { return false };
        let mut any = false;
        while let Some(batch) = self.retained.pop_back() {
            if batch.header().series == series {
                any = true;
                self.first = self.first.saturating_sub(1);
                let item = Item { batch, ticket: None, bytes: 0, request: 0, acked: false };
                self.items.push_front(item);
            }
        }
        self.retained_bytes = 0;
        any
    }
}
