//! Filling a hole in a series.

use super::{Feed, Stop, lost};
use crate::{
    EventBatch,
    frame::{Subscribe, Told},
    guard::Verdict,
    proving::{Proven, Raw, prove},
    session::Session,
};
use mainstem_model::{Cursor, Header, ReadFilter, ReadStart};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

impl Feed {
    /// Fetches what is missing of a series before `header`, and brings it. What the broker has not stays missing.
    pub(super) async fn fill(
        &mut self,
        session: &Arc<Session>,
        header: &Header,
        since: i64,
    ) -> Result<(), Stop> {
        let filter =
            ReadFilter { origin: Some(header.origin), from: since, to: header.timestamp_min.max(since) };
        let mut ask = Subscribe { at: self.ask.at, start: ReadStart::From, filter, live: false };
        tracing::info!(at = %self.ask.at, origin = %header.origin, series = %header.series, "fetching a gap");
        // More than fits the queue comes in several answers.
        while let Some(cursor) = self.fill_from(session, header, ask).await? {
            ask.start = ReadStart::Cursor(cursor);
        }
        Ok(())
    }

    /// One answer; gives where to go on if not all of it could be held.
    async fn fill_from(
        &mut self,
        session: &Arc<Session>,
        header: &Header,
        ask: Subscribe,
    ) -> Result<Option<Cursor>, Stop> {
        let limit = self.core.config.subscribe.gap_timeout;
        let mut had = None;
        let mut subscribed = match session.subscribe(ask, self.is_shared()).await {
            Ok(subscribed) => subscribed,
            Err(_) if session.is_gone() => return Err(Stop::Again(Duration::ZERO)),
            Err(_) => return Ok(None),
        };
        let result = loop {
            let told = tokio::select! {
                told = timeout(limit, subscribed.next()) => told,
                _ = session.ended() => return Err(Stop::Again(Duration::ZERO)),
            };
            let (batch, cursor, received_at) = match told {
                Ok(Ok(Some(Told::Deliver { batch, cursor, received_at, .. }))) => {
                    (batch, cursor, received_at)
                }
                Ok(Ok(Some(Told::Ended { .. }))) => return Ok(None),
                // Damage there: what it took stays missing.
                Ok(Ok(Some(Told::CaughtUp { .. }))) => continue,
                Ok(Err(_)) => return Err(lost(session).await),
                // IMPORTANT: what a lost connection leaves open is no gap.
                _ if session.is_gone() => return Err(Stop::Again(Duration::ZERO)),
                // The queue was full: what did not fit is asked for again. It holds one batch at least.
                Ok(Ok(None)) if subscribed.has_overflowed() && had.is_some() => break Ok(had),
                // As good as the end: too late, broken off, or nonsense.
                _ => break Ok(None),
            };
            let raw = Raw { cursor: Cursor::Arrival { log: 0, position: 0, skip: 0 }, received_at, batch };
            let (verifier, keyring) = (self.core.verifier.clone(), self.core.publishing.keyring().clone());
            let Ok(proven) = self.core.provers.ask(move || prove(&verifier, &keyring, vec![raw])).await
            else {
                break Ok(None);
            };
            if let Some(error) = proven.error {
                break Err(self.reject(session, error));
            }
            let count = proven.batches.first().map_or(0, |(batch, ..)| batch.header().count);
            had = Some(cursor.with_skip(count));
            if let Err(stop) = self.bring_missing(session, header, proven).await {
                break Err(stop);
            }
        };
        session.unsubscribe(subscribed.subscription);
        result
    }

    async fn bring_missing(
        &mut self,
        session: &Arc<Session>,
        until: &Header,
        proven: Proven,
    ) -> Result<(), Stop> {
        for (batch, contents, _, received_at) in proven.batches {
            let (header, id) = (batch.header().clone(), batch.id());
            let wanted = header.stream_partition == self.ask.at
                && (header.origin, header.series) == (until.origin, until.series)
                && header.sequence < until.sequence;
            let Some(cursor) = self.cursor else { return Ok(()) };
            if wanted && self.guard.judge(&header, id) == Verdict::Next {
                self.guard.take(&header, id);
                if self.is_permitted(session, &header).await? {
                    self.output(EventBatch::fetched(batch, contents, cursor, received_at, &self.ask.filter))
                        .await?;
                }
            }
        }
        Ok(())
    }
}
