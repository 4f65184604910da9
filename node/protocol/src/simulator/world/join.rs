//! Sessions between brokers begin, carry and end.

use super::{Mesh, Plan, World};
use crate::{
    InEvent, PeerBatch, PeerMessage,
    simulator::{
        meter::wire_bytes,
        network::{Letter, Pair, Sent, SessionNumber},
        sabotage::Sabotage,
    },
};
use mainstem_model::{Address, BatchId};

impl World {
    pub(super) fn dial_all(&mut self, n: usize) {
        if self.settings.mesh == Mesh::OnDemand || self.settings.replicas.is_none() {
            return;
        }
        for other in 0..self.brokers.len() {
            if other != n {
                self.redial(n, other);
            }
        }
    }

    fn redial(&mut self, a: usize, b: usize) {
        let pair = (a.min(b), a.max(b));
        if self.dialing.insert(pair) {
            let later = self.random.span(100, 1_000);
            self.plan(later, Plan::Dial(pair));
        }
    }

    /// A broker wants a session with another one.
    pub(super) fn connect(&mut self, n: usize, peer: Address) {
        let Some(there) = self.by_address.get(&peer).copied().filter(|there| *there != n) else { return };
        let pair = (n.min(there), n.max(there));
        if self.settings.mesh == Mesh::OnDemand && self.dialing.insert(pair) {
            self.plan(0, Plan::Dial(pair));
        }
    }

    /// A broker has no more use for a session.
    pub(super) fn part(&mut self, n: usize, peer: Address) {
        let Some(there) = self.by_address.get(&peer).copied() else { return };
        if self.settings.mesh == Mesh::OnDemand
            && let Some(session) = self.network.session(n, there)
        {
            self.end(n, there, session);
        }
    }

    pub(super) fn dial(&mut self, pair: Pair) {
        let (a, b) = pair;
        self.dialing.remove(&pair);
        if self.network.are_joined(a, b) {
            return;
        }
        let answers = |n: usize| self.brokers[n].is_up() && self.brokers[n].backlog.is_none();
        let can = answers(a) && answers(b) && self.network.can_join(a, b, self.now);
        if can {
            let session = self.network.next_session();
            let there = self.network.distance((a, b));
            let back = there + self.network.distance((b, a));
            if self.settings.mesh == Mesh::OnDemand {
                // Nobody dials the other a second time meanwhile.
                self.dialing.insert(pair);
            }
            self.plan(there, Plan::Up { here: b, there: a, session, last: false });
            self.plan(back, Plan::Up { here: a, there: b, session, last: true });
        }
        if self.settings.mesh == Mesh::Full {
            // Seen to again when this has come to something.
            self.redial(a, b);
        }
    }

    pub(super) fn up(&mut self, here: usize, there: usize, session: SessionNumber, last: bool) {
        if last && self.settings.mesh == Mesh::OnDemand {
            self.dialing.remove(&(here.min(there), here.max(there)));
        }
        let half = last && self.network.session(there, here) != Some(session);
        let cut = self.network.is_cut((here, there)) || self.network.is_cut((there, here));
        if !self.brokers[here].is_up() || half || cut {
            let later = self.random.span(3_000, 8_000);
            return self.plan(later, Plan::Hangup { here: there, there: here, session });
        }
        let peer = self.brokers[there].address;
        let broker = &self.brokers[here];
        // The end of the session before is about to be told, at this very time, unless it never is.
        let ending = self.network.session(here, there).is_none() && broker.peers.contains(&peer);
        let told = self.settings.sabotage != Some(Sabotage::LosePeerDown);
        if ending && told && broker.backlog.is_none() {
            return self.plan(0, Plan::Up { here, there, session, last });
        }
        if self.network.open(here, there, session).is_some() {
            self.handle(here, InEvent::PeerDown { peer });
        }
        self.handle(here, InEvent::PeerUp { peer });
    }

    /// One side ends a session.
    pub(super) fn end(&mut self, here: usize, there: usize, session: SessionNumber) {
        if !self.network.close(here, there, session) {
            return;
        }
        let (peer, life) = (self.brokers[there].address, self.brokers[here].life);
        self.plan(0, Plan::Node(here, life, Box::new(InEvent::PeerDown { peer })));
        let later = self.network.distance((here, there));
        self.plan(later, Plan::Hangup { here: there, there: here, session });
        if self.settings.mesh == Mesh::Full {
            self.redial(here, there);
        }
    }

    pub(super) fn hangup(&mut self, here: usize, there: usize, session: SessionNumber) {
        if self.network.session(here, there) != Some(session) {
            return;
        }
        if self.network.is_cut((there, here)) {
            return self.plan(1_000, Plan::Hangup { here, there, session });
        }
        self.end(here, there, session);
    }

    /// A broker's process is gone, and its sessions with it. `silently`: the others find out by hearing nothing.
    pub(super) fn leave(&mut self, n: usize, silently: bool) {
        for (there, session) in self.network.forget(n) {
            let distance = self.network.distance((n, there));
            let later = if silently { self.random.span(3_000, 8_000) } else { distance };
            self.plan(later, Plan::Hangup { here: there, there: n, session });
        }
    }

    pub(super) fn tell(&mut self, n: usize, peer: Address, message: PeerMessage) {
        let Some(mut hostile) = self.brokers[n].hostile.take() else {
            return self.send(n, peer, message);
        };
        let mut says = Vec::new();
        let fed = if let PeerMessage::Feed { batch } = &message { Some(batch.clone()) } else { None };
        hostile.tell(peer, message, &mut |below| self.random.below(below), &mut says);
        self.brokers[n].hostile = Some(hostile);
        if let Some(batch) = fed
            && !says
                .iter()
                .any(|(_, said)| matches!(said, PeerMessage::Feed { batch: said } if said.id() == batch.id()))
            && let Some(follower) = self.by_address.get(&peer)
        {
            let parent = self.brokers[n].address;
            // Where no honest broker has it, nobody can tell.
            if let Some(at) = batch.stream_partition().filter(|at| !self.carriers(*at).is_empty()) {
                self.parents.withhold(*follower, at, parent, self.now);
            }
        }
        for (peer, message) in says {
            self.send(n, peer, message);
        }
    }

    pub(super) fn tell_unasked(&mut self, n: usize) {
        let Some(mut hostile) = self.brokers[n].hostile.take() else { return };
        let peers: Vec<_> = self.network.peers(n).iter().map(|peer| self.brokers[*peer].address).collect();
        let mut says = Vec::new();
        hostile.tick(&peers, &mut |below| self.random.below(below), &mut says);
        self.brokers[n].hostile = Some(hostile);
        for (peer, message) in says {
            self.send(n, peer, message);
        }
    }

    fn send(&mut self, n: usize, peer: Address, message: PeerMessage) {
        let Some(there) = self.by_address.get(&peer).copied().filter(|there| *there != n) else { return };
        if self.settings.metering && self.network.session(n, there).is_some() {
            self.meter.sent(&message, wire_bytes(&message));
        }
        match self.network.send((n, there), message, self.now, &mut self.random) {
            Sent::Arrives(at, letter) => self.plan_at(at, Plan::Arrive(letter)),
            Sent::Nowhere => {}
            Sent::Full(session) => self.end(n, there, session),
        }
    }

    pub(super) fn arrive(&mut self, letter: Letter) {
        let Some(Letter { from, to, message, .. }) = self.network.arrive(letter) else { return };
        if self.settings.metering {
            let measures = |id| self.measures(id);
            if message_batch(&message).is_none_or(measures) {
                self.meter.came(from, to, &message);
            }
        }
        let peer = self.brokers[from].address;
        self.overhear(to, peer, &message);
        let message = match message {
            PeerMessage::Feed { batch } => {
                let Some(batch) = self.prove(&batch) else { return };
                PeerMessage::Feed { batch }
            }
            PeerMessage::Pulled { pull, batch } => {
                let Some(batch) = self.prove(&batch) else { return };
                PeerMessage::Pulled { pull, batch }
            }
            PeerMessage::Proof { first, second } => {
                let (Some(first), Some(second)) = (self.prove(&first), self.prove(&second)) else { return };
                PeerMessage::Proof { first, second }
            }
            message => message,
        };
        self.handle(to, InEvent::Peer { peer, message });
    }

    /// A liar hears something before its honest part does.
    fn overhear(&mut self, n: usize, peer: Address, message: &PeerMessage) {
        if !self.brokers[n].is_up() || self.brokers[n].backlog.is_some() {
            return;
        }
        let Some(mut hostile) = self.brokers[n].hostile.take() else { return };
        let peers: Vec<_> = self.network.peers(n).iter().map(|peer| self.brokers[*peer].address).collect();
        let mut says = Vec::new();
        hostile.hear(peer, message, &peers, &mut says);
        self.brokers[n].hostile = Some(hostile);
        for (peer, message) in says {
            self.send(n, peer, message);
        }
    }

    /// What a shell does before it hands a batch in. Each was proven when it was sealed.
    fn prove(&self, batch: &PeerBatch) -> Option<PeerBatch> {
        let sealed = self.reference.find(batch.id()?)?;
        (sealed.batch.bytes() == batch.bytes()).then(|| PeerBatch::Proven(sealed.batch.clone()))
    }

    pub(super) fn drop_peer(&mut self, n: usize, peer: Address, for_ms: u64, why: &'static str) {
        let Some(there) = self.by_address.get(&peer).copied() else { return };
        self.trace.step(self.now, n, why, there as u64);
        let for_ms = i64::try_from(for_ms).unwrap_or(i64::MAX);
        self.network.ban(n, there, self.now.saturating_add(for_ms));
        if let Some(session) = self.network.session(n, there) {
            self.end(n, there, session);
        }
    }

    /// Ways are cut: on both sides of each the silence is noticed, each in its own time.
    pub(super) fn cut(&mut self, pairs: &[Pair]) {
        for (from, to) in pairs.iter().copied() {
            self.network.cut((from, to));
            for (here, there) in [(from, to), (to, from)] {
                if let Some(session) = self.network.session(here, there) {
                    let later = self.random.span(3_000, 8_000);
                    self.plan(later, Plan::Silence { here, there, session });
                }
            }
        }
    }

    pub(super) fn heal(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            for letter in self.network.heal(*pair) {
                self.plan(0, Plan::Arrive(Box::new(letter)));
            }
        }
    }
}

/// The batch that a message brings.
fn message_batch(message: &PeerMessage) -> Option<BatchId> {
    match message {
        PeerMessage::Store { batch, .. } => Some(batch.id()),
        PeerMessage::Feed { batch } | PeerMessage::Pulled { batch, .. } => batch.id(),
        _ => None,
    }
}
