//! Faults strike.

use super::{FAULT_MS_MAX, FaultKind, Plan, World, next_epoch};
use crate::simulator::{disk::Disk, network::Pair, sabotage::Sabotage};
use mainstem_model::{Address, Grant, RegistryChange};
use std::{collections::VecDeque, sync::Arc};

/// By how much a clock can be wrong, milliseconds: less than what a broker lets pass.
const CLOCK_MS_MAX: i64 = 3 * 60_000;

impl World {
    pub(super) fn plan_strike(&mut self, kind: FaultKind) {
        let churn = (self.settings.churn_percent_per_minute * self.settings.brokers) as i64;
        let every = match kind {
            FaultKind::Kill if churn > 0 => (6_000_000 / churn).max(1),
            FaultKind::Epoch => self.settings.epoch_every_ms,
            FaultKind::Wipe => self.settings.wipe_every_ms,
            FaultKind::Equivocate => self.settings.fork_every_ms,
            kind => kind.every_ms(),
        };
        let later = self.random.span(every / 4, every * 7 / 4 + 1);
        self.plan(later, Plan::Strike(kind));
    }

    pub(super) fn strike(&mut self, kind: FaultKind) {
        if self.settling {
            return;
        }
        self.plan_strike(kind);
        let first = if self.settings.churn_percent_per_minute > 0 { self.settings.members } else { 0 };
        let among = self.brokers.len().saturating_sub(first).max(1) as u64;
        let broker = (first + self.random.below(among) as usize).min(self.brokers.len() - 1);
        self.trace.step(self.now, broker, "fault", kind as u64);
        let lasts = self.random.span(200, FAULT_MS_MAX / 2);
        match kind {
            FaultKind::Kill => self.kill(broker, lasts),
            FaultKind::PowerLoss => self.lose_power(broker, lasts),
            FaultKind::Wipe => self.wipe(broker, lasts),
            FaultKind::Pause => self.pause(broker, lasts),
            FaultKind::SlowDisk => self.brokers[broker].disk.slow_until = self.now + lasts,
            FaultKind::ClockStep => {
                let offset = self.random.span(-CLOCK_MS_MAX, CLOCK_MS_MAX);
                let before = self.brokers[broker].clock_offset;
                let forward = self.settings.clocks_forward;
                self.brokers[broker].clock_offset = if forward { before.max(offset.abs()) } else { offset };
            }
            FaultKind::Reset => self.reset(broker),
            FaultKind::Stall => {
                if let Some(peer) = self.draw_peer(broker) {
                    self.network.stall((broker, peer), self.now + lasts);
                }
            }
            FaultKind::Partition => self.partition(),
            FaultKind::Epoch => self.move_shards(),
            FaultKind::RevokePublisher => self.revoke_publisher(),
            FaultKind::RevokeSubscriber => self.revoke_subscriber(),
            FaultKind::ClientsMove => {
                for n in 0..self.publishers.len() {
                    if self.random.one_in(2) {
                        let later = self.random.span(0, 500);
                        self.publisher_away(n, later);
                    }
                }
                for n in 0..self.subscribers.len() {
                    if self.random.one_in(3) {
                        let later = self.random.span(0, 3_000);
                        self.subscriber_away(n, later);
                    }
                }
            }
            FaultKind::SlowReader => {
                let n = self.random.below(self.subscribers.len() as u64) as usize;
                if let Some(subscriber) = self.subscribers.get_mut(n) {
                    subscriber.stalled = true;
                    self.plan(lasts, Plan::Unstall(n));
                }
            }
            FaultKind::Equivocate => {
                let forks = (0..self.publishers.len()).find(|n| self.publishers[*n].forks);
                if let Some(n) = forks {
                    self.equivocate(n);
                }
            }
        }
    }

    fn stop(&mut self, n: usize, silently: bool, lasts: i64) {
        self.brokers[n].stop();
        self.relays.forget(self.brokers[n].address);
        self.leave(n, silently);
        self.lose_clients(n);
        self.plan(lasts, Plan::Restart(n));
    }

    fn kill(&mut self, n: usize, lasts: i64) {
        if self.brokers[n].is_up() {
            self.brokers[n].disk.kill();
            if self.settings.sabotage == Some(Sabotage::Forget) {
                self.brokers[n].disk.forget_last();
            }
            self.stop(n, false, lasts);
        }
    }

    fn lose_power(&mut self, n: usize, lasts: i64) {
        if !self.brokers[n].is_up() {
            return;
        }
        let [lost, left] = self.brokers[n].disk.lose_power(&mut self.random);
        if self.brokers[n].is_honest() {
            for batch in left {
                self.reference.note_synced(batch.id(), n);
            }
            for batch in lost {
                self.reference.note_lost(&batch, n);
            }
        }
        self.stop(n, true, lasts);
    }

    fn wipe(&mut self, n: usize, lasts: i64) {
        if !self.brokers[n].is_up() {
            return;
        }
        self.logs += 1;
        self.brokers[n].disk = Disk::new(self.logs);
        if self.brokers[n].is_honest() {
            self.reference.note_wiped(n);
        }
        self.stop(n, true, lasts);
    }

    fn pause(&mut self, n: usize, lasts: i64) {
        if !self.brokers[n].is_up() || self.brokers[n].backlog.is_some() {
            return;
        }
        self.brokers[n].backlog = Some(VecDeque::new());
        self.plan(lasts, Plan::Resume(n, self.brokers[n].life));
        for peer in self.network.peers(n) {
            // Who hears nothing for long enough ends the session.
            let after = self.random.span(3_000, 8_000);
            if let Some(session) = self.network.session(peer, n)
                && after < lasts
            {
                self.plan(after, Plan::Hangup { here: peer, there: n, session });
            }
        }
    }

    fn draw_peer(&mut self, n: usize) -> Option<usize> {
        let peers = self.network.peers(n);
        self.random.pick(&peers)
    }

    fn reset(&mut self, n: usize) {
        if let Some(peer) = self.draw_peer(n)
            && let Some(session) = self.network.session(n, peer)
        {
            self.end(n, peer, session);
        }
    }

    /// Some brokers are not heard by some others; one time in two, those hear them neither.
    fn partition(&mut self) {
        let side: Vec<bool> = self.brokers.iter().map(|_| self.random.one_in(2)).collect();
        let both = self.random.one_in(2);
        let all = 0..side.len();
        let pairs: Vec<Pair> = all
            .clone()
            .flat_map(|from| all.clone().map(move |to| (from, to)))
            .filter(|(from, to)| (side[*from] && !side[*to]) || (both && !side[*from] && side[*to]))
            .collect();
        self.cut(&pairs);
        let lasts = self.random.span(500, FAULT_MS_MAX);
        self.plan(lasts, Plan::Heal(pairs));
    }

    fn move_shards(&mut self) {
        let Some(last) = self.epochs.last() else { return };
        let next = next_epoch(last, &mut self.random);
        let index = self.epochs.len();
        self.epochs.push(Arc::new(next));
        self.note_places();
        for n in 0..self.brokers.len() {
            let later = self.random.span(0, self.settings.news_ms_max);
            self.plan(later, Plan::Assign(n, index));
        }
    }

    fn tell_all(&mut self, change: RegistryChange) {
        self.registry.push(change);
        let until = self.registry.len();
        for n in 0..self.brokers.len() {
            let later = self.random.span(0, self.settings.news_ms_max);
            self.plan(later, Plan::Hear(n, until));
        }
    }

    fn revoke(&mut self, who: Address) {
        self.tell_all(RegistryChange::Grant(super::STREAM, who, Grant::NONE));
    }

    fn revoke_publisher(&mut self) {
        let n = self.random.below(self.publishers.len() as u64) as usize;
        let Some(publisher) = self.publishers.get_mut(n).filter(|publisher| !publisher.revoking) else {
            return;
        };
        publisher.revoking = true;
        publisher.revoked_at = Some(self.now + self.settings.news_ms_max);
        if let Some(who) = publisher.signer().origin().address() {
            self.revoke(who);
        }
    }

    fn revoke_subscriber(&mut self) {
        let n = self.random.below(self.subscribers.len() as u64) as usize;
        let Some(subscriber) = self.subscribers.get_mut(n).filter(|subscriber| !subscriber.revoked) else {
            return;
        };
        subscriber.revoked = true;
        let who = subscriber.who;
        self.revoke(who);
    }
}
