//! What must be so in the end, and what is told when it is not.

use super::{Mesh, World};
use crate::{Now, peers::SCORE_MAX, simulator::subscriber::Subscriber};
use mainstem_model::{SeriesKey, StreamPartition};
use std::{collections::BTreeSet, fmt::Write};

/// Until a broker sees that a batch has waited for too long for those before it, milliseconds.
const PARKED_MS: i64 = 1_000;
/// Until then brokers find each other, and get by repair what came before that, milliseconds.
const BEGUN_MS: i64 = 5_000;
/// Until a broker sees that nobody reads, besides the time that it lingers, milliseconds: it may be paused, and hears late of readers that
/// were cut off.
const IDLE_MS: i64 = 15_000;

impl World {
    /// Compares the world with the reference. To be called when it has settled.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    pub fn check(&self) -> Result<(), String> {
        if let Some(violation) = self.violations.first() {
            return Err(violation.clone());
        }
        self.check_publishers()?;
        self.check_replicas()?;
        self.check_subscribers()?;
        self.check_sessions()?;
        self.check_idle()
    }

    fn check_publishers(&self) -> Result<(), String> {
        for (n, publisher) in self.publishers.iter().enumerate() {
            if !publisher.is_done() {
                return Err(format!("{} batches of publisher {n} were never acked", publisher.unacked()));
            }
        }
        Ok(())
    }

    /// Honest brokers that carry a partition in the end.
    pub(super) fn carriers(&self, at: StreamPartition) -> Vec<usize> {
        let assigned: Vec<_> = match self.epochs.last() {
            Some(assignment) => {
                assignment.brokers_of(at).iter().filter_map(|it| self.by_address.get(it).copied()).collect()
            }
            None => (0..self.brokers.len()).collect(),
        };
        assigned.into_iter().filter(|n| self.brokers[*n].is_honest()).collect()
    }

    fn check_replicas(&self) -> Result<(), String> {
        for number in 0..self.settings.partitions {
            let at = super::partition(number.into());
            let carriers = self.carriers(at);
            for sealed in self.reference.required().filter(|it| it.batch.header().stream_partition == at) {
                if let Some(n) = carriers.iter().find(|n| !self.brokers[**n].disk.log.holds(&sealed.batch)) {
                    return Err(format!(
                        "{:?}, sequence {} of series {} in {at}, acked {:?}, is not at broker {n}",
                        sealed.batch.id(),
                        sealed.batch.header().sequence,
                        sealed.batch.header().series,
                        sealed.acked
                    ));
                }
            }
            for (n, broker) in self.brokers.iter().enumerate().filter(|(_, broker)| broker.is_honest()) {
                let framed = broker.disk.log.frozen(at).find(|series| !self.reference.is_forked(series));
                if let Some(key) = framed {
                    return Err(format!(
                        "broker {n} has frozen series {} of an honest publisher",
                        key.series
                    ));
                }
            }
            // A broker alone has nobody to be equal to.
            let [first, others @ ..] = carriers.as_slice() else { continue };
            if self.epochs.is_empty() {
                continue;
            }
            let log = |n: usize| &self.brokers[n].disk.log;
            for other in others {
                let (ours, theirs) = (log(*first).ids(at), log(*other).ids(at));
                let equal = log(*first).digest(at) == log(*other).digest(at);
                if let Some(one) = ours.symmetric_difference(&theirs).next() {
                    return Err(format!("brokers {first} and {other} differ in {at}: {one:?}"));
                }
                if !equal {
                    return Err(format!("brokers {first} and {other} have other heads in {at}"));
                }
            }
        }
        for (n, broker) in self.brokers.iter().enumerate().filter(|(_, broker)| broker.is_honest()) {
            let unlawful =
                self.reference.all().iter().find(|it| it.unlawful && broker.disk.log.holds(&it.batch));
            if let Some(sealed) = unlawful {
                return Err(format!(
                    "broker {n} keeps {:?} of one who may not publish, or of another time",
                    sealed.batch.id()
                ));
            }
        }
        Ok(())
    }

    fn check_subscribers(&self) -> Result<(), String> {
        for (n, subscriber) in self.subscribers.iter().enumerate() {
            if let Some(missing) = subscriber.missing(&self.reference) {
                let broker = subscriber.broker;
                return Err(format!("subscriber {n} at broker {broker} never got what it must: {missing}"));
            }
            if subscriber.revoked && !subscriber.over {
                return Err(format!("subscriber {n} was never told that it may not read any more"));
            }
        }
        Ok(())
    }

    /// Sessions between brokers have come back, and brokers know of those that are there and of no others.
    fn check_sessions(&self) -> Result<(), String> {
        for (n, broker) in self.brokers.iter().enumerate() {
            let joined: BTreeSet<_> =
                self.network.peers(n).iter().map(|peer| self.brokers[*peer].address).collect();
            if joined != broker.peers {
                return Err(format!("broker {n} believes in sessions with {:?}", broker.peers));
            }
            let meshed = self.settings.mesh == Mesh::Full && self.settings.replicas.is_some();
            let apart = (0..n).find(|other| {
                !self.network.are_joined(n, *other) && self.network.can_join(n, *other, self.now)
            });
            if let Some(other) = apart.filter(|_| meshed) {
                return Err(format!("brokers {n} and {other} have not found each other again"));
            }
        }
        Ok(())
    }

    fn check_idle(&self) -> Result<(), String> {
        let mut open = vec![0; self.brokers.len()];
        for (broker, _) in self.clients.values() {
            open[*broker] += 1;
        }
        for (n, broker) in self.brokers.iter().enumerate() {
            let Some(node) = &broker.node else { return Err(format!("broker {n} is not there")) };
            let counters = node.counters();
            // Liars go on: what they have just sent may wait for a moment.
            let parked_ms = broker.parks_since.map_or(0, |since| self.now - since);
            let stays =
                self.settings.hostile.is_empty() || parked_ms > self.settings.node.parked_ms + PARKED_MS;
            let gauges = [
                counters.write_queue_bytes,
                counters.delivery_queue_bytes,
                if stays { counters.parked_bytes } else { 0 },
                counters.copies_waiting,
            ];
            if broker.is_honest() && gauges != [0; 4] {
                return Err(format!("broker {n} holds {gauges:?} bytes and has nothing to do"));
            }
            if counters.sessions != open[n] {
                return Err(format!("broker {n} has {} sessions instead of {}", counters.sessions, open[n]));
            }
        }
        Ok(())
    }

    /// A broker's bounds, and how long it has stayed with one that withholds; looked at now and then.
    pub(super) fn check_bounds(&mut self, n: usize) {
        let Some(node) = self.brokers[n].node.as_ref().filter(|_| self.brokers[n].is_honest()) else {
            return;
        };
        let now = Now { unix_ms: self.now, up_ms: self.now };
        let (counters, config) = (node.counters(), &self.settings.node);
        let Some(status) = node.status(now) else { return };
        let pulls: usize = status.peers.iter().map(|peer| peer.pulls).sum();
        // One batch may always wait.
        let parked_max = config.parked_bytes_max.max(self.reference.greatest());
        let bounds = [
            ("bytes parked", counters.parked_bytes as usize, parked_max),
            ("followers", status.followers, config.followers_max),
            ("pulls", pulls, config.pulls_max),
        ];
        if let Some((what, has, _)) = bounds.iter().find(|(_, has, max)| has > max) {
            return self.violate(format!("broker {n} has {has} {what}"));
        }
        let wrongs = counters.misdeeds.values().sum::<u64>();
        if self.now < BEGUN_MS {
            self.brokers[n].wrongs = wrongs;
        } else if self.settings.blameless && wrongs > self.brokers[n].wrongs {
            let which: Vec<_> = counters.misdeeds.keys().map(|misdeed| misdeed.as_str()).collect();
            return self.violate(format!("broker {n} has found an honest one wanting: {which:?}"));
        }
        let blamed = status.peers.iter().find(|peer| peer.score >= SCORE_MAX);
        if let Some(peer) = blamed {
            let (who, score) = (peer.address, peer.score);
            return self.violate(format!("broker {n} stays with {who}, which has {score} points"));
        }
        let parks = &mut self.brokers[n].parks_since;
        *parks = parks.or(Some(self.now)).filter(|_| counters.parked_bytes > 0);
        let parked_ms = parks.map_or(0, |since| self.now - since);
        if self.settings.parked_ms_max.is_some_and(|max| parked_ms > max) {
            return self
                .violate(format!("at broker {n} batches wait for those before them for {parked_ms} ms"));
        }
        let ring_ms = self.relays.look(&status, self.now);
        if self.settings.ring_ms_max.is_some_and(|max| ring_ms > max) {
            return self.violate(format!("broker {n} is in a ring of relays for {ring_ms} ms"));
        }
        let read =
            |reader: &Subscriber, at| reader.broker == n && reader.at() == at && reader.session.is_some();
        let is_read = |at| self.subscribers.iter().any(|reader| read(reader, at));
        let idle_ms = self.relays.look_for_readers(&status, is_read, self.now);
        if idle_ms > self.settings.node.link_linger_ms + IDLE_MS {
            return self.violate(format!("broker {n} follows for {idle_ms} ms what nobody reads there"));
        }
        let withheld_ms = self.parents.look(n, &status, self.now);
        if self.settings.withheld_ms_max.is_some_and(|max| withheld_ms > max) {
            self.violate(format!("broker {n} stays {withheld_ms} ms with one that withholds"));
        }
        self.check_proofs(n);
    }

    fn check_proofs(&mut self, n: usize) {
        let Some(max) = self.settings.proven_ms_max else { return };
        for number in 0..self.settings.partitions {
            let at = super::partition(number.into());
            if !self.carriers(at).contains(&n) {
                continue;
            }
            if let Some((series, ms)) = self.proofs.look(at, &self.brokers[n].disk, self.now)
                && ms > max
            {
                self.violate(format!(
                    "broker {n} lacks the proof against series {} for {ms} ms",
                    series.series
                ));
            }
        }
    }

    /// Notes who may keep what: whom an epoch assigns a partition to, and where somebody reads it.
    pub(super) fn note_places(&mut self) {
        let readers = self.subscribers.iter().map(|subscriber| (subscriber.broker, subscriber.at()));
        self.places.extend(readers);
        let Some(assignment) = self.epochs.last() else { return };
        for at in (0..self.settings.partitions).map(|number| super::partition(number.into())) {
            let owners = assignment.brokers_of(at);
            let numbers = owners.iter().filter_map(|owner| self.by_address.get(owner));
            self.places.extend(numbers.map(|n| (*n, at)));
        }
    }

    /// Whether an honest broker keeps what was never assigned to it, and nobody reads there.
    pub(super) fn is_stray(&self, n: usize, at: StreamPartition) -> bool {
        !self.epochs.is_empty() && self.brokers[n].is_honest() && !self.places.contains(&(n, at))
    }

    /// Everything that helps to understand this seed.
    pub fn report(&self) -> String {
        let mut out = format!("SEED={} after {} ms, {} steps\n", self.settings.seed, self.now, self.steps());
        let _ = writeln!(out, "faults: {:?}, hostile: {:?}", self.settings.faults, self.settings.hostile);
        for violation in &self.violations {
            let _ = writeln!(out, "violated {violation}");
        }
        if self.trace.is_whole() {
            for (n, broker) in self.brokers.iter().enumerate() {
                let _ = writeln!(out, "broker {n} is {}, honest: {}", broker.address, broker.is_honest());
            }
            for sealed in self.reference.all() {
                let (header, id) = (sealed.batch.header(), sealed.batch.id());
                let (series, first, next) = (SeriesKey::of(header), header.sequence, header.next_sequence());
                let _ = writeln!(out, "{id:?} is {first}..{next} of {}", series.series);
            }
        }
        self.trace.tell(&mut out);
        out
    }
}
