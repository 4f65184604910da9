//! What a broker asks for is done here, as a driver does it: the disk, its delays, the clock.

use super::{Plan, START_MS, TICK_MS, World};
use crate::{
    InEvent, Now, OutEvent,
    simulator::{machine::Seat, sabotage::Sabotage},
};
use mainstem_model::SeriesKey;
use std::mem;

/// Batches that may have found room for the journal at once, before the heads of their series were read: as many as windows let through.
const ADMITTED: usize = 100;

impl World {
    /// A broker's process begins.
    pub(super) fn start(&mut self, n: usize) {
        if self.brokers[n].is_up() {
            return;
        }
        let seat = Seat {
            number: n,
            brokers: &self.addresses,
            config: &self.settings.node,
            log: self.brokers[n].disk.log.number,
            is_blank: self.brokers[n].disk.log.is_empty(),
        };
        let machine = (self.make)(&seat);
        self.windows.forget(n);
        self.questions.forget(n);
        self.parents.forget(n);
        let broker = &mut self.brokers[n];
        broker.start(machine);
        let (heard, assignment, life) = (broker.heard, broker.assignment.clone(), broker.life);
        self.trace.step(self.now, n, "start", u64::from(life));
        for index in 0..heard {
            let change = self.registry[index].clone();
            self.handle(n, InEvent::Registry(change));
        }
        if let Some(assignment) = assignment {
            self.handle(n, InEvent::Assigned(assignment));
        }
        let later = self.random.span(0, TICK_MS);
        self.plan(later, Plan::Tick(n, life));
        self.dial_all(n);
    }

    pub(super) fn handle(&mut self, n: usize, event: InEvent) {
        let broker = &mut self.brokers[n];
        if let Some(backlog) = &mut broker.backlog {
            return backlog.push_back(event);
        }
        let lost = match self.settings.sabotage {
            Some(Sabotage::LoseFlushed) => matches!(event, InEvent::Flushed { .. }),
            Some(Sabotage::LosePeerDown) => n == 0 && matches!(event, InEvent::PeerDown { .. }),
            _ => false,
        };
        let Some(node) = broker.node.as_mut().filter(|_| !lost) else { return };
        match &event {
            InEvent::PeerUp { peer } if !broker.peers.insert(*peer) => {
                self.violations.push(format!("broker {n} was told twice that {peer} is there"));
            }
            InEvent::PeerDown { peer } if !broker.peers.remove(peer) => {
                self.violations.push(format!("broker {n} was told that {peer} is gone, which was not there"));
            }
            _ => {}
        }
        self.trace.take_in(self.now, n, &event);
        self.windows.take_in(n, &event, self.now, &self.settings.node);
        let asker = self.questions.take_in(n, &event);
        let mut out = mem::take(&mut self.out);
        let now = Now { unix_ms: START_MS + self.now + broker.clock_offset, up_ms: self.now };
        node.handle(event, now, &mut out);
        let ([deliveries, writes], config) = (node.queued(), &self.settings.node);
        let over = if deliveries > config.delivery_queue_bytes_max {
            Some(("deliveries", deliveries))
        } else if writes > config.write_queue_bytes_max + ADMITTED * self.reference.greatest() {
            Some(("writes", writes))
        } else {
            None
        };
        if let Some((what, bytes)) = over {
            self.violate(format!("broker {n} holds {bytes} bytes of {what}"));
        }
        for output in out.drain(..) {
            self.trace.give_out(self.now, n, &output);
            let over = asker.and_then(|peer| self.questions.read(n, peer, &output, &self.settings.node));
            if let Some(what) = over {
                self.violate(what);
            }
            self.perform(n, output);
        }
        self.out = out;
    }

    fn perform(&mut self, n: usize, output: OutEvent) {
        let life = self.brokers[n].life;
        if let OutEvent::Append { batch, .. } = &output
            && self.brokers[n].disk.log.proof(&SeriesKey::of(batch.header())).is_some()
        {
            self.violate(format!("broker {n} goes on with a series that it has frozen"));
        }
        if let OutEvent::Append { batch, .. } = &output
            && self.is_stray(n, batch.header().stream_partition)
        {
            self.violate(format!("broker {n} keeps what is not assigned to it and nobody reads there"));
        }
        let disk = &mut self.brokers[n].disk;
        match output {
            OutEvent::Append { write, batch, received_at, durable, past } => {
                if disk.append(write, batch, received_at, durable, past) {
                    self.plan_io(n, Plan::WriteOut(n, life));
                }
            }
            OutEvent::Freeze { write, proof, bytes_max } => {
                if disk.freeze(write, proof, bytes_max) {
                    self.plan_io(n, Plan::WriteOut(n, life));
                }
            }
            OutEvent::Sync { write } => {
                if disk.sync(write) {
                    self.plan_io(n, Plan::Fsync(n, life));
                }
            }
            OutEvent::ReadHead { .. }
            | OutEvent::ReadBatch { .. }
            | OutEvent::ResolveStart { .. }
            | OutEvent::ReadPage { .. }
            | OutEvent::ReadSeries { .. }
            | OutEvent::ReadProof { .. }
            | OutEvent::ReadLast { .. }
            | OutEvent::ListPartitions { .. }
            | OutEvent::DigestHeads { .. }
            | OutEvent::SummarizeHeads { .. } => self.plan_io(n, Plan::Read(n, life, Box::new(output))),
            OutEvent::Tell { peer, message } => {
                let over = self.windows.tell(n, peer, &message, self.now, &self.settings.node);
                if let Some(what) = over {
                    self.violate(what);
                }
                self.tell(n, peer, message);
            }
            OutEvent::Connect { peer } => self.connect(n, peer),
            OutEvent::Part { peer } => self.part(n, peer),
            OutEvent::Drop { peer, for_ms, why } => self.drop_peer(n, peer, for_ms, why),
            // The transport keeps the order of what it is given.
            OutEvent::Send { session, message } => self.plan(0, Plan::Client(session, Box::new(message))),
        }
    }

    fn io_delay(&mut self, n: usize) -> i64 {
        let slow = self.settings.slow_io_one_in;
        let delay = if slow > 0 && self.random.one_in(slow) {
            self.random.span(0, 400)
        } else {
            self.random.span(0, 12)
        };
        if self.brokers[n].disk.slow_until > self.now { 50 + delay * 8 } else { delay }
    }

    fn plan_io(&mut self, n: usize, plan: Plan) {
        let delay = self.io_delay(n);
        self.plan(delay, plan);
    }

    /// The time of a completion: they come in the order of what they complete.
    fn completion(&mut self, n: usize, delay: i64) -> i64 {
        let disk = &mut self.brokers[n].disk;
        disk.completes_at = disk.completes_at.max(self.now + delay);
        disk.completes_at
    }

    pub(super) fn write_out(&mut self, n: usize) {
        let life = self.brokers[n].life;
        let written = self.brokers[n].disk.write();
        if let Some(batch) = &written.wrong {
            self.violate(format!(
                "broker {n} keeps {:?} where another is, or behind another than it names",
                batch.id()
            ));
        }
        if self.brokers[n].is_honest() {
            for batch in &written.batches {
                self.reference.note_stored(batch.id(), n, self.now);
            }
        }
        if !written.stored.is_empty() {
            let delay = self.random.span(0, 5);
            let at = self.completion(n, delay);
            self.plan_at(at, Plan::Node(n, life, Box::new(InEvent::Stored { writes: written.stored })));
        }
        if written.sync {
            let later = self.random.span(0, 3);
            self.plan(later, Plan::Fsync(n, life));
        }
    }

    pub(super) fn fsync(&mut self, n: usize) {
        if !self.brokers[n].disk.wants_sync() {
            return;
        }
        let (life, number) = (self.brokers[n].life, self.brokers[n].disk.written());
        let delay = 4 + self.io_delay(n);
        let at = self.completion(n, delay);
        self.plan_at(at, Plan::Synced(n, life, number));
    }

    pub(super) fn synced(&mut self, n: usize, number: u64) {
        let synced = self.brokers[n].disk.synced(number);
        if self.brokers[n].is_honest() && self.settings.sabotage != Some(Sabotage::SyncLate) {
            for batch in &synced.batches {
                self.reference.note_synced(batch.id(), n);
            }
        }
        if !synced.durable.is_empty() {
            self.handle(n, InEvent::Durable { writes: synced.durable });
        }
        for write in synced.frozen {
            self.handle(n, InEvent::Frozen { write, result: Ok(()) });
        }
    }

    pub(super) fn read(&mut self, n: usize, read: OutEvent) {
        let broker = &self.brokers[n];
        let (log, life) = (&broker.disk.log, broker.life);
        let answer = match read {
            OutEvent::ReadHead { series } => InEvent::HeadRead { series, result: Ok(log.head(&series)) },
            OutEvent::ReadBatch { read, series, sequence } => {
                InEvent::BatchRead { read, result: Ok(log.batch(&series, sequence)) }
            }
            OutEvent::ResolveStart { read, at, start, filter } => {
                InEvent::StartResolved { read, result: log.start(at, start, &filter) }
            }
            OutEvent::ReadPage { read, at, cursor, filter, bytes_max } => {
                InEvent::PageRead { read, result: log.page(at, cursor, &filter, bytes_max) }
            }
            OutEvent::ReadSeries { read, series, from, until, bytes_max } => {
                let page = log.series_page(&series, from, until, bytes_max);
                InEvent::SeriesRead { read, result: Ok(page) }
            }
            OutEvent::ReadProof { read, series } => {
                InEvent::ProofRead { read, result: Ok(log.proof(&series)) }
            }
            OutEvent::ReadLast { read, at, before_ms } => {
                InEvent::LastRead { read, result: Ok(log.last(at, before_ms)) }
            }
            OutEvent::ListPartitions { read, after, max } => {
                InEvent::PartitionsListed { read, result: Ok(log.partitions(after, max)) }
            }
            OutEvent::DigestHeads { read, partitions } => {
                let digests = partitions.into_iter().map(|at| log.digest(at)).collect();
                InEvent::HeadsDigested { read, result: Ok(digests) }
            }
            OutEvent::SummarizeHeads { read, range, heads_max, parts } => {
                let summary = log.summarize(&range, heads_max, parts);
                InEvent::HeadsSummarized { read, result: Ok(summary) }
            }
            OutEvent::Append { .. }
            | OutEvent::Sync { .. }
            | OutEvent::Freeze { .. }
            | OutEvent::Tell { .. }
            | OutEvent::Connect { .. }
            | OutEvent::Part { .. }
            | OutEvent::Drop { .. }
            | OutEvent::Send { .. } => return,
        };
        let later = self.random.span(0, 6);
        self.plan(later, Plan::Node(n, life, Box::new(answer)));
    }

    pub(super) fn tick(&mut self, n: usize) {
        let life = self.brokers[n].life;
        self.plan(TICK_MS, Plan::Tick(n, life));
        if self.brokers[n].backlog.is_some() {
            return;
        }
        self.handle(n, InEvent::Tick);
        self.check_bounds(n);
        self.tell_unasked(n);
    }

    /// A paused broker goes on, with everything that it has not handled.
    pub(super) fn resume(&mut self, n: usize) {
        for event in self.brokers[n].backlog.take().unwrap_or_default() {
            self.handle(n, event);
        }
    }

    /// A broker hears of the registry's steps up to `until`.
    pub(super) fn hear(&mut self, n: usize, until: usize) {
        let heard = self.brokers[n].heard;
        self.brokers[n].heard = heard.max(until);
        for index in heard..until {
            let change = self.registry[index].clone();
            self.handle(n, InEvent::Registry(change));
        }
    }

    /// A broker hears of an epoch.
    pub(super) fn assign(&mut self, n: usize, index: usize) {
        let assignment = self.epochs[index].clone();
        let broker = &mut self.brokers[n];
        if broker.assignment.as_ref().is_some_and(|known| known.epoch >= assignment.epoch) {
            return;
        }
        broker.assignment = Some(assignment.clone());
        self.handle(n, InEvent::Assigned(assignment));
    }
}
