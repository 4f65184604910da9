use crate::{
    Config, Counters, InEvent, Misdeed, NetworkStatus, Now, OutEvent, PeerBatch, PeerFault, PeerMessage,
    ServerMessage, SessionId,
    answers::Answers,
    changes::Changes,
    clock::Clock,
    context::Context,
    copies::{self, Copies},
    inventory::Inventory,
    links::{self, Links},
    network::Network,
    offer::{Offer, Outcomes, Source},
    peers::{Hello, Peers},
    publish::Ingest,
    repair::Repair,
    rule::Rule,
    session::Sessions,
    subscription::Delivery,
};
use mainstem_model::{
    AckLevel, Address, Assignment, Refusal, Registry, RegistryChange, SeriesHead, SeriesKey, StreamId,
    StreamPartition,
};
use std::{collections::BTreeSet, mem, sync::Arc};

/// How often a broker says what it is, milliseconds: what is told may be lost where a queue is full.
const GREET_MS: i64 = 2_000;

/// A broker: everything it knows, and nothing it does itself.
#[derive(Debug)]
pub struct Node {
    config: Config,
    log: u64,
    registry: Registry,
    /// Who once could publish to a stream and cannot now; what was taken in then is repaired all the same.
    former: BTreeSet<(StreamId, Address)>,
    network: Network,
    /// It serves what it is to keep.
    ready: bool,
    /// It has all that it is to keep; until then others are told that it is not ready, even if it serves what it has.
    whole: bool,
    sessions: Sessions,
    ingest: Ingest,
    delivery: Delivery,
    peers: Peers,
    copies: Copies,
    links: Links,
    changes: Changes,
    repair: Repair,
    inventory: Inventory,
    answers: Answers,
    counters: Counters,
    clock: Clock,
    next_read: u64,
    /// Readers here, and others, were told that it is ready.
    told_ready: bool,
    told_whole: bool,
}

/// The parts that handle events, beside the [`Context`] that they share.
struct Parts<'a> {
    log: u64,
    ingest: &'a mut Ingest,
    delivery: &'a mut Delivery,
    repair: &'a mut Repair,
    inventory: &'a mut Inventory,
    answers: &'a mut Answers,
}

impl Node {
    /// A node over a store whose number is `log` (part of its cursors). It knows no streams until told by
    /// [`InEvent::Registry`], and no other brokers until told by [`InEvent::Assigned`].
    pub fn new(config: Config, log: u64) -> Self {
        Self {
            ingest: Ingest::new(&config),
            delivery: Delivery::new(log),
            config,
            log,
            registry: Registry::default(),
            former: BTreeSet::new(),
            network: Network::default(),
            ready: true,
            whole: true,
            sessions: Sessions::default(),
            peers: Peers::default(),
            copies: Copies::default(),
            links: Links::default(),
            changes: Changes::default(),
            repair: Repair::default(),
            inventory: Inventory::default(),
            answers: Answers::default(),
            counters: Counters::default(),
            clock: Clock::default(),
            next_read: 0,
            told_ready: true,
            told_whole: true,
        }
    }

    /// Gives it its name among brokers.
    #[must_use]
    pub fn named(mut self, me: Address) -> Self {
        self.network.name(me);
        self
    }

    /// Says that its log is empty: what other brokers have of what it is to keep is history here, and no news.
    #[must_use]
    pub fn over_empty_log(mut self) -> Self {
        self.network.begin_blank();
        self
    }

    /// The bounds it keeps.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Streams and rights as it was told.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Series whose heads are remembered; at most `series_cache_max` and those with batches on their way.
    pub fn series_cached(&self) -> usize {
        self.ingest.series_len()
    }

    /// Whether it serves what it is to keep: it has all of that, as far as it knows, or has looked for long enough.
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        Counters {
            sessions: self.sessions.len() as u64,
            subscriptions: self.delivery.len() as u64,
            write_queue_bytes: self.ingest.queue_bytes() as u64,
            delivery_queue_bytes: self.delivery.queue_bytes() as u64,
            peers_up: self.peers.up_len() as u64,
            links_out: self.links.out_len() as u64,
            links_in: self.links.in_len() as u64,
            series_behind: self.repair.behind_len() as u64,
            parked_bytes: self.repair.parked_bytes() as u64,
            copies_waiting: self.copies.len() as u64,
            ready: u64::from(self.ready),
            ..self.counters.clone()
        }
    }

    /// Bytes that wait for transports, and for the journal.
    #[cfg(feature = "test-utils")]
    pub(crate) const fn queued(&self) -> [usize; 2] {
        [self.delivery.queue_bytes(), self.ingest.queue_bytes()]
    }

    /// The network as it sees it.
    pub fn network_status(&self, now: Now) -> NetworkStatus {
        let assignment = self.network.assignment();
        let me = self.network.me();
        let others = assignment.into_iter().flat_map(|assignment| assignment.members.keys());
        let status = |peer: &Address| self.peers.status(*peer, now.up_ms, self.repair.pulls_from(*peer));
        NetworkStatus {
            me,
            epoch: self.network.epoch(),
            shards: assignment.map_or(1, |assignment| assignment.shards.number()),
            replicas: assignment.map_or(1, |assignment| assignment.replicas),
            ready: self.ready,
            peers: others.filter(|peer| **peer != me).map(status).collect(),
            kept: self.network.kept(),
            links: self.links.status(),
            followers: self.links.in_len(),
            series_behind: self.repair.behind_len(),
            parked_bytes: self.repair.parked_bytes(),
            copies_waiting: self.copies.len(),
        }
    }

    /// Takes one thing that happened; what is to be done about it is added to `out`, in order.
    pub fn handle(&mut self, event: InEvent, now: Now, out: &mut Vec<OutEvent>) {
        if !self.config.keeps(Rule::ClockSet) {
            self.clock = Clock::default();
        }
        self.clock.look(now);
        let mut changed = None;
        if let InEvent::Registry(change) = &event {
            self.note_former(change);
            changed = stream_of(change);
            self.registry.apply(change.clone());
        } else if let InEvent::Assigned(assignment) = &event {
            self.assign(assignment, now);
        } else if let InEvent::Tick = &event {
            self.look_whether_ready(now);
        }
        let was_ready = mem::replace(&mut self.told_ready, self.ready);
        let was_whole = mem::replace(&mut self.told_whole, self.whole);
        let (mut parts, mut cx) = self.split(now, out);
        let cx = &mut cx;
        if let Some(stream) = changed {
            parts.delivery.handle_rights(stream, cx);
        }
        parts.handle(event, cx);
        parts.settle(cx);
        if cx.ready && !was_ready {
            cx.network.serve();
            parts.delivery.handle_ready(cx);
        }
        if cx.whole && !was_whole {
            let peers: Vec<_> = cx.peers.up().collect();
            for peer in peers {
                hello(peer, parts.log, cx);
            }
        }
    }

    /// Remembers who could publish, before that changes.
    fn note_former(&mut self, change: &RegistryChange) {
        if let RegistryChange::Grant(stream, who, _) = change
            && self.registry.has_published(*stream, *who)
            && self.config.keeps(Rule::FormerRights)
        {
            self.former.insert((*stream, *who));
        }
    }

    fn assign(&mut self, assignment: &Arc<Assignment>, now: Now) {
        self.network.assign(assignment.clone(), now.up_ms, &self.config);
        let given = self.network.given().any(|(.., since)| since == now.up_ms);
        self.ready &= !given;
        self.whole &= !given || !self.config.keeps(Rule::SaysWhenReady);
        let network = &self.network;
        self.peers.retain(|peer| network.knows(peer));
    }

    /// Whether this broker has got, for each shard that it is to keep, what others have of it.
    fn look_whether_ready(&mut self, now: Now) {
        if self.network.is_alone() || (self.ready && self.whole) {
            return;
        }
        // IMPORTANT: history is not there before the store has it; who reads from the past on would pass it by.
        let stored = !self.ingest.is_filling() || !self.config.keeps(Rule::FilledIsStored);
        let up: Vec<_> = self.peers.up().collect();
        let done = |peer: &Address, since| self.inventory.done(*peer).filter(|done| done.began_at >= since);
        // From one that has all; or from everybody there is, as those who kept the shard before may not be known any more.
        let has_all = |keepers: &[Address], owners: &[Address], since| {
            keepers.iter().any(|keeper| done(keeper, since).is_some_and(|done| done.with_ready))
                || owners
                    .iter()
                    .chain(&up)
                    .all(|peer| done(peer, since).is_some_and(|done| done.with_knowing))
        };
        let (mut whole, mut ready) = (true, true);
        for (owners, before, since) in self.network.given() {
            let me = self.network.me();
            let owners: Vec<_> = owners.iter().copied().filter(|owner| *owner != me).collect();
            let keepers: Vec<_> = owners.iter().chain(before).copied().collect();
            let has_all = stored && (keepers.is_empty() || has_all(&keepers, &owners, since));
            whole &= has_all;
            let waited = now.up_ms - since >= self.config.ready_after_ms;
            ready &= has_all || (waited && self.config.keeps(Rule::ReadyAfter));
        }
        self.whole |= whole;
        self.ready |= ready;
    }

    fn split<'a>(&'a mut self, now: Now, out: &'a mut Vec<OutEvent>) -> (Parts<'a>, Context<'a>) {
        let Self { ingest, delivery, repair, inventory, answers, .. } = self;
        let parts = Parts { log: self.log, ingest, delivery, repair, inventory, answers };
        let cx = Context {
            config: &self.config,
            registry: &self.registry,
            former: &self.former,
            network: &mut self.network,
            ready: self.ready,
            whole: self.whole,
            sessions: &mut self.sessions,
            counters: &mut self.counters,
            peers: &mut self.peers,
            copies: &mut self.copies,
            links: &mut self.links,
            changes: &mut self.changes,
            next_read: &mut self.next_read,
            clock: &self.clock,
            now,
            out,
        };
        (parts, cx)
    }
}

impl Parts<'_> {
    fn handle(&mut self, event: InEvent, cx: &mut Context<'_>) {
        let Self { ingest, delivery, repair, inventory, answers, .. } = self;
        match event {
            InEvent::SessionOpened { session, identity } => {
                if let Err(refusal) = cx.sessions.open(session, identity, cx.config) {
                    cx.refuse(session, 0, refusal);
                }
            }
            InEvent::SessionClosed { session } => {
                delivery.handle_closed(session, cx);
                cx.sessions.close(session);
            }
            InEvent::SignedIn { session, request, address } => {
                let result = cx.sessions.sign_in(session, address);
                reply(session, request, result, cx);
            }
            InEvent::Publish { session, request, ack, batch } => {
                ingest.handle_offer(Offer { source: Source::Client { session, request, ack }, batch }, cx);
            }
            InEvent::Subscribe { session, request, subscribe } => {
                delivery.handle_subscribe(session, request, subscribe, cx);
            }
            InEvent::Unsubscribe { session, request, subscription } => {
                delivery.handle_unsubscribe(session, request, subscription, cx);
            }
            InEvent::Flushed { session, subscription, bytes } => {
                delivery.handle_flushed((session, subscription), bytes, cx);
            }
            InEvent::HeadRead { series, result } => {
                ingest.handle_head(series, result, cx);
                repair.handle_head(series, ingest, cx);
            }
            InEvent::BatchRead { read, result } => ingest.handle_batch(read, result, cx),
            InEvent::Stored { writes } => {
                for stored in ingest.handle_stored(writes, cx) {
                    if !stored.past || !cx.keeps(Rule::PastIsNoNews) {
                        let at = stored.batch.header().stream_partition;
                        links::note_stored(at, stored.position, cx);
                        delivery.deliver(&stored, cx);
                        links::feed(&stored, self.log, cx);
                    }
                    if !cx.network.is_alone() {
                        let series = SeriesKey::of(stored.batch.header());
                        let head = SeriesHead::after(&stored.batch);
                        // What lies before says nothing of how far the series is.
                        if stored.past && !ingest.reaches(&series, head.next_sequence) {
                            continue;
                        }
                        cx.changes.note(series, head, cx.now.up_ms, cx.config.changes_max);
                    }
                }
            }
            InEvent::Frozen { write, result } => ingest.handle_frozen(write, result, cx),
            InEvent::Durable { writes } => ingest.handle_durable(writes, cx),
            InEvent::StoreFailed { refusal } => {
                copies::handle_failure(&refusal, cx);
                ingest.handle_failure(refusal, cx);
            }
            InEvent::StartResolved { read, result } => {
                if !answers.handle_start(read, &result, cx) {
                    delivery.handle_start(read, result, cx);
                }
            }
            InEvent::PageRead { read, result } => {
                if !answers.handle_page(read, &result, cx) && !links::handle_page(read, &result, cx) {
                    delivery.handle_page(read, result, cx);
                }
            }
            InEvent::SeriesRead { read, result } => {
                if !answers.handle_series(read, &result, cx) {
                    repair.handle_based(read, &result, ingest, cx);
                }
            }
            InEvent::LastRead { read, result } => {
                if let Some(at) = links::handle_last(read, result, cx) {
                    self.handle_readable(at, cx);
                }
            }
            InEvent::ProofRead { read, result } => repair.handle_proof(read, result, cx),
            InEvent::PartitionsListed { read, result } => answers.handle_partitions(read, result, cx),
            InEvent::HeadsDigested { read, result } => {
                if !answers.handle_digests(read, &result, cx) {
                    inventory.handle_digests(read, result, cx);
                }
            }
            InEvent::HeadsSummarized { read, result } => {
                if !answers.handle_summary(read, &result, cx) {
                    inventory.handle_summary(read, result, cx);
                }
            }
            InEvent::PeerUp { peer } => self.handle_up(peer, cx),
            InEvent::PeerDown { peer } => self.handle_down(peer, cx),
            InEvent::Peer { peer, message } => self.handle_message(peer, message, cx),
            InEvent::PeerFaulty { peer, fault } => match fault {
                PeerFault::Malformed(_) => cx.blame(peer, Misdeed::Malformed),
                PeerFault::InvalidBatch(_) => cx.blame(peer, Misdeed::InvalidBatch),
                PeerFault::Unprovable { answer, .. } => {
                    answer.into_iter().for_each(|answer| cx.tell(peer, *answer));
                }
                PeerFault::NoRoom { answer } => {
                    if let Some(PeerMessage::Fed { at, .. }) = answer.as_deref() {
                        links::excuse(*at, cx);
                    }
                    answer.into_iter().for_each(|answer| cx.tell(peer, *answer));
                }
            },
            InEvent::Assigned(_) => {
                answers.handle_assigned();
                let peers: Vec<_> = cx.peers.up().collect();
                for peer in peers {
                    hello(peer, self.log, cx);
                    inventory.begin(peer, cx);
                }
                for fellow in cx.network.fellows() {
                    cx.reach(fellow);
                }
                links::handle_up(cx);
                delivery.handle_assigned(cx);
            }
            InEvent::Tick => self.handle_tick(cx),
            InEvent::Registry(_) => {}
        }
    }

    fn handle_up(&mut self, peer: Address, cx: &mut Context<'_>) {
        let last = cx.changes.last();
        cx.peers.begin(peer, last, cx.now.up_ms);
        hello(peer, self.log, cx);
        links::handle_up(cx);
        self.inventory.begin(peer, cx);
        self.compare(cx);
    }

    fn handle_down(&mut self, peer: Address, cx: &mut Context<'_>) {
        cx.peers.end(peer);
        self.inventory.handle_down(peer, cx);
        self.answers.handle_down(peer);
        self.repair.handle_down(peer, self.ingest, cx);
        links::handle_down(peer, cx);
        self.delivery.handle_peer_down(peer, cx);
    }

    fn handle_message(&mut self, peer: Address, message: PeerMessage, cx: &mut Context<'_>) {
        let now = cx.now.up_ms;
        let Some(known) = cx.peers.find(peer) else { return };
        known.heard_at = now;
        if !message.is_sign_of_life() {
            known.used_at = now;
        }
        let Self { ingest, repair, inventory, answers, .. } = self;
        match message {
            PeerMessage::Hello { log, epoch, ready } => {
                let anew = known.greet(Hello { log, epoch, ready }, now);
                if anew && cx.keeps(Rule::FormerLogs) {
                    cx.network.lose(peer);
                }
            }
            PeerMessage::Store { durable, batch } => {
                ingest.handle_offer(Offer { source: Source::Store { peer, durable }, batch }, cx);
            }
            PeerMessage::Held { series, next_sequence, last, durable } => {
                known.give_room((series, next_sequence), now);
                let level = if durable { AckLevel::Durable } else { AckLevel::Stored };
                copies::held(peer, series, next_sequence, last, level, cx);
            }
            PeerMessage::NotHeld { series, batch, refusal } => {
                known.give_series_room(series, now);
                copies::refused(peer, batch, refusal, cx);
            }
            PeerMessage::Follow { at, full, since_ms } => links::handle_follow(peer, at, full, since_ms, cx),
            PeerMessage::Followed { at, full, path } => {
                if links::handle_followed(peer, at, full, path, cx) {
                    self.handle_readable(at, cx);
                }
            }
            PeerMessage::NotFollowed { at, refusal, instead } => {
                links::handle_not_followed(peer, at, &refusal, instead, cx);
            }
            PeerMessage::Unfollow { at } => links::handle_unfollow(peer, at, cx),
            PeerMessage::Feed { batch: PeerBatch::Proven(batch) } => {
                let (at, bytes) = (batch.header().stream_partition, batch.bytes().len() as u64);
                // Before it is placed: the journal's own bound holds from here on.
                cx.tell(peer, PeerMessage::Fed { at, bytes });
                if links::is_fed_by(peer, at, cx) || !cx.keeps(Rule::AskedFeeds) {
                    ingest.handle_offer(Offer { source: Source::Feed { peer }, batch }, cx);
                } else {
                    // It may not have heard that nobody reads here any more.
                    cx.tell(peer, PeerMessage::Unfollow { at });
                }
            }
            PeerMessage::Fed { at, bytes } => links::handle_fed(peer, at, bytes, cx),
            PeerMessage::Heads { heads } => {
                links::handle_heads(peer, &heads, cx);
                let wanted = |series: &SeriesKey| {
                    let at = series.stream_partition;
                    (cx.network.is_kept(at) && cx.network.is_keeper(peer, at))
                        || links::is_fed_by(peer, at, cx)
                        || !cx.keeps(Rule::AskedHeads)
                };
                let heads: Vec<_> = heads.into_iter().filter(|(series, _)| wanted(series)).collect();
                repair.claim(heads, peer, false, ingest, cx);
            }
            PeerMessage::Pull { pull, series, from, until, bytes_max } => {
                answers.handle_pull(peer, pull, series, (from, until), bytes_max, cx);
            }
            PeerMessage::Pulled { pull, batch: PeerBatch::Proven(batch) } => {
                repair.handle_pulled(peer, pull, batch, ingest, cx);
            }
            PeerMessage::PullEnd { pull, result } => repair.handle_pull_end(peer, pull, result, ingest, cx),
            PeerMessage::Inventory { ask, after } => answers.handle_inventory(peer, ask, after, cx),
            PeerMessage::Inventoried { ask, partitions, more } => {
                inventory.handle_inventoried(peer, ask, partitions, more, cx);
            }
            PeerMessage::Compare { ask, range } => answers.handle_compare(peer, ask, range, cx),
            PeerMessage::Compared { ask, summary } => {
                inventory.handle_compared(peer, ask, summary, repair, ingest, cx);
            }
            PeerMessage::Proof { first: PeerBatch::Proven(first), second: PeerBatch::Proven(second) } => {
                let at = first.header().stream_partition;
                let wanted = cx.network.is_kept(at) || cx.links.is_following(at);
                if wanted && ingest.handle_proof(&first, &second, cx).is_err() {
                    cx.blame(peer, Misdeed::Malformed);
                }
            }
            PeerMessage::Resolve { read, at, start, filter } => {
                answers.handle_resolve(peer, read, (at, start, filter), cx);
            }
            PeerMessage::Read { read, at, cursor, filter, bytes_max } => {
                answers.handle_read(peer, read, (at, cursor, filter), bytes_max, cx);
            }
            // Not proven: the shell does not hand these in.
            PeerMessage::Feed { .. } | PeerMessage::Pulled { .. } | PeerMessage::Proof { .. } => {}
            PeerMessage::Resolved { read, result } => self.delivery.handle_resolved(peer, read, result, cx),
            PeerMessage::PageOf { read, result } => self.delivery.handle_page_of(peer, read, result, cx),
        }
    }

    /// What taking in batches has led to, until nothing more comes of it.
    fn settle(&mut self, cx: &mut Context<'_>) {
        loop {
            let Outcomes { gaps, forks, proofs } = mem::take(&mut self.ingest.outcomes);
            if gaps.is_empty() && forks.is_empty() && proofs.is_empty() {
                return;
            }
            for (offer, stands_at) in gaps {
                self.repair.park(offer, stands_at, self.ingest, cx);
            }
            for fork in forks {
                self.repair.handle_fork(fork, self.ingest, cx);
            }
            for (series, first, second) in proofs {
                links::forgive(&series, cx);
                if !cx.keeps(Rule::ProofsToldOn) {
                    continue;
                }
                let at = series.stream_partition;
                let to: Vec<_> = cx
                    .peers
                    .up()
                    .filter(|peer| cx.network.is_keeper(*peer, at) || cx.links.is_follower(*peer, at))
                    .collect();
                for peer in to {
                    let (first, second) =
                        (PeerBatch::Stored(first.clone()), PeerBatch::Stored(second.clone()));
                    cx.tell(peer, PeerMessage::Proof { first, second });
                }
            }
        }
    }

    /// A partition that is followed may be readable now.
    fn handle_readable(&mut self, at: StreamPartition, cx: &mut Context<'_>) {
        if let Some(peer) = links::compares_with(at, cx) {
            self.inventory.compare(peer, at, cx);
        }
        self.compare(cx);
        self.delivery.handle_followed(at, cx);
    }

    /// What was here of partitions before they were followed is compared.
    fn compare(&mut self, cx: &mut Context<'_>) {
        for (at, peer) in links::uncompared(cx) {
            self.inventory.compare(peer, at, cx);
        }
    }

    fn handle_tick(&mut self, cx: &mut Context<'_>) {
        self.delivery.handle_tick(cx);
        if cx.network.is_alone() {
            return;
        }
        let now = cx.now.up_ms;
        cx.peers.fade(now);
        copies::handle_tick(cx);
        self.repair.handle_tick(self.ingest, cx);
        self.inventory.handle_tick(self.repair, cx);
        links::handle_tick(cx);
        self.compare(cx);
        for fellow in cx.network.fellows() {
            cx.reach(fellow);
        }
        let peers: Vec<_> = cx.peers.up().collect();
        let epoch = cx.network.epoch();
        let (me, ready) = (cx.network.me(), cx.whole);
        let all = cx.peers.ready_since(epoch);
        cx.network.release(|broker| if broker == me { ready } else { all.contains(&broker) });
        for peer in peers {
            beat(peer, self.log, cx);
        }
        cx.part();
    }
}

/// The stream whose rights a change may touch.
const fn stream_of(change: &RegistryChange) -> Option<StreamId> {
    match change {
        RegistryChange::Stream(record) => Some(record.id),
        RegistryChange::Removed(id) | RegistryChange::Grant(id, ..) => Some(*id),
        RegistryChange::Delegation(..) => None,
    }
}

/// Tells a broker what this one is.
fn hello(peer: Address, log: u64, cx: &mut Context<'_>) {
    let (epoch, ready, now) = (cx.network.epoch(), cx.whole, cx.now.up_ms);
    if let Some(known) = cx.peers.find(peer) {
        known.greeted_at = now;
    }
    cx.tell(peer, PeerMessage::Hello { log, epoch, ready });
}

/// Tells a broker how far series have come that concern it, or only that this one lives.
fn beat(peer: Address, log: u64, cx: &mut Context<'_>) {
    let now = cx.now.up_ms;
    let Some(known) = cx.peers.find(peer).filter(|known| now - known.beaten_at >= cx.config.beat_ms) else {
        return;
    };
    known.beaten_at = now;
    let greets = now - known.greeted_at >= GREET_MS;
    known.forget_older(now, cx.config);
    let told = known.told;
    let mut last = told;
    let mut heads = Vec::new();
    for (number, series, head) in cx.changes.since(told) {
        if heads.len() >= cx.config.heads_per_message_max.min(PeerMessage::HEADS_MAX) {
            break;
        }
        last = number;
        let at = series.stream_partition;
        let both = cx.network.is_kept(at) && cx.network.is_keeper(peer, at);
        if (both || cx.links.is_follower(peer, at)) && cx.keeps(Rule::TellsChanges) {
            heads.push((series, head));
        }
    }
    if let Some(known) = cx.peers.find(peer) {
        known.told = last;
    }
    cx.tell(peer, PeerMessage::Heads { heads });
    if greets {
        hello(peer, log, cx);
    }
}

fn reply(session: SessionId, request: u64, result: Result<(), Refusal>, cx: &mut Context<'_>) {
    match result {
        Ok(()) => cx.out.push(OutEvent::Send { session, message: ServerMessage::SignedIn { request } }),
        Err(refusal) => cx.refuse(session, request, refusal),
    }
}
