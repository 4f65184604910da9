//! What happens to a series of which a batch was refused for its age: the rest goes on in another one.

use super::{Lane, state::Item, state::State};
use crate::{ClientError, ErrorKind};
use mainstem_model::{Batch, Code, NewEvent, SeriesId, SeriesWriter};
use std::sync::Arc;

impl Lane {
    /// The broker's clock does not let a batch in: its events fail, those behind it do not.
    pub(super) fn drop_refused(&self, state: &mut State, serial: u64, error: ClientError) {
        let Some(item) = state.item(serial) else { return };
        (item.acked, item.lost) = (true, true);
        let (series, count) = (item.batch.header().series, item.batch.header().count);
        let error = match item.ticket.take() {
            Some(ticket) => {
                let told = ClientError {
                    message: format!("{}; this publisher goes on with another series", error.message),
                    ..error
                };
                ticket.resolve(Err(told.clone()));
                state.breaks(series);
                told
            }
            // IMPORTANT: whether the broker has it still shows by what it says to the one behind it.
            None => ClientError {
                message: format!(
                    "{count} events that the broker had acked and may have lost in a crash are too old to be sent again"
                ),
                code: Some(Code::InvalidTimestamp),
                kind: ErrorKind::InvalidTimestamp,
            },
        };
        tracing::warn!(at = %self.at, %error, "a batch was refused for its age");
        state.refused.get_or_insert(error);
        state.too_old = true;
        state.rewinding = true;
        state.forget_retained();
        let level = self.config.ack.level;
        state.settle(level, self.config.retained_bytes_max);
        self.progress.notify_waiters();
    }

    /// Seals what is left of broken series anew. IMPORTANT: when nothing is on its way, so that none of it is at the broker.
    pub(super) fn restart(self: Arc<Self>) {
        let mut writer = self.writer();
        let mut state = self.state();
        let broken = std::mem::take(&mut state.broken);
        let of_broken = |batch: &Batch| broken.contains(&batch.header().series);
        let mut anew = self.new_series();
        let mut failed = None;
        for item in state.items.iter_mut().filter(|item| !item.acked && of_broken(&item.batch)) {
            match self.seal_next(&events_of(&item.batch), &mut anew) {
                Ok(batch) => *item = Item::new(batch, item.ticket.take(), item.bytes),
                Err(error) => failed = Some(error),
            }
        }
        if broken.contains(&writer.key().series) {
            *writer = anew;
        }
        state.too_old = false;
        state.restarting = false;
        state.sent = 0;
        if let Some(error) = failed {
            let first = state.first;
            self.fail_from(&mut state, first, &error.into());
        }
        if state.rewinding {
            self.end_rewind(&mut state);
        } else {
            self.enqueue(&mut state);
        }
        drop(state);
        drop(writer);
        self.progress.notify_waiters();
    }

    fn new_series(&self) -> SeriesWriter {
        SeriesWriter::new(self.network, self.at, self.signer.clone(), SeriesId(rand::random()))
    }
}

fn events_of(batch: &Batch) -> Vec<NewEvent> {
    let events = batch.events().enumerate().map(|(index, event)| NewEvent {
        timestamp: event.timestamp,
        content_type: event.content_type,
        encryption_type: event.encryption_type,
        content: batch.content(index).unwrap_or_default(),
    });
    events.collect()
}
