//! Publishers and subscribers come, go, and hear answers.

use super::{Client, Plan, START_MS, UNTIMELY_MS, World};
use crate::{
    InEvent, ServerMessage, SessionId, SubscriptionId,
    simulator::{
        publisher::Turn,
        sabotage::Sabotage,
        subscriber::{Held, Taken},
    },
};
use bytes::Bytes;
use mainstem_model::{Ack, AckLevel, Address, BatchId, Code, Cursor, Refusal, VerifiedBatch};
use std::sync::Arc;

/// A publisher that waits so long for an ack tries another broker, milliseconds.
const ACK_WAIT_MS: i64 = 10_000;

impl World {
    fn open(&mut self, broker: usize, client: Client, identity: Option<Address>) -> SessionId {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.clients.insert(session, (broker, client));
        self.handle(broker, InEvent::SessionOpened { session, identity });
        session
    }

    fn close(&mut self, session: SessionId) {
        if let Some((broker, _)) = self.clients.remove(&session) {
            self.handle(broker, InEvent::SessionClosed { session });
        }
    }

    /// Brokers that clients go to.
    pub(super) fn serving(&self) -> Vec<usize> {
        let all = self.brokers.iter().enumerate();
        all.filter(|(_, broker)| broker.is_up() && broker.is_honest()).map(|(n, _)| n).collect()
    }

    // ------------------------------------------------ publishers

    pub(super) fn publisher_back(&mut self, n: usize) {
        if self.publishers[n].session.is_some() || self.publishers[n].stopped {
            return;
        }
        let mut serving = self.serving();
        if self.settings.subscribers_spread {
            // Those that are not churned: how a publisher comes back is not what is measured.
            serving.retain(|broker| *broker < self.settings.members);
        }
        let home = self.publishers[n].broker;
        let stays = serving.contains(&home) && (self.random.one_in(2) || self.settings.publishers_stay);
        let Some(broker) = (if stays { Some(home) } else { self.random.pick(&serving) }) else {
            return self.plan(300, Plan::PublisherBack(n));
        };
        self.publishers[n].broker = broker;
        let session = self.open(broker, Client::Publisher(n), None);
        for batch in self.publishers[n].open(session) {
            self.send_batch(n, batch);
        }
    }

    /// A publisher disconnects, if it is connected, and comes back.
    pub(super) fn publisher_away(&mut self, n: usize, later: i64) {
        if let Some(session) = self.publishers[n].close() {
            self.close(session);
            self.plan(later, Plan::PublisherBack(n));
        }
    }

    pub(super) fn publish(&mut self, n: usize) {
        let every = self.settings.publish_every_ms;
        let later = self.random.span(every / 4, every * 7 / 4);
        self.plan(later, Plan::Publish(n));
        let publisher = &mut self.publishers[n];
        if let (Some(max), Some(since)) = (self.settings.answered_ms_max, publisher.waits_since())
            && self.now - since.min(self.now) > max
        {
            let ms = self.now - since;
            return self.violate(format!("publisher {n} hears nothing of a batch for {ms} ms"));
        }
        if publisher.waits_since().is_some_and(|since| since < self.now - ACK_WAIT_MS) {
            self.publisher_away(n, 100);
            return;
        }
        if self.settling || publisher.stopped || publisher.is_full() {
            return;
        }
        for _ in 0..self.random.span(1, 4) {
            let (time, publisher) = (START_MS + self.now, &mut self.publishers[n]);
            let sealed = publisher.seal(time, &mut self.random, &self.verifier, &mut self.reference);
            if let Some(batch) = sealed {
                self.send_batch(n, batch);
            }
        }
    }

    /// Two batches for one place: one goes the usual way, the other to any broker.
    pub(super) fn equivocate(&mut self, n: usize) {
        let (time, publisher) = (START_MS + self.now, &mut self.publishers[n]);
        if publisher.session.is_none() || publisher.stopped {
            return;
        }
        let sealed = publisher.fork(time, &mut self.random, &self.verifier, &mut self.reference);
        let Some([first, second]) = sealed else { return };
        let serving = self.serving();
        let Some(broker) = self.random.pick(&serving) else { return };
        self.send_batch(n, first);
        let session = self.open(broker, Client::Stray, None);
        self.reference.note_sent(second.id(), self.now, self.is_barred(n));
        let ack = Ack::new(AckLevel::Stored, 1);
        self.last_request += 1;
        let publish = InEvent::Publish { session, request: self.last_request, ack, batch: second };
        let later = self.settings.fork_after_ms;
        if later > 0 {
            self.plan(later, Plan::Node(broker, self.brokers[broker].life, Box::new(publish)));
        } else {
            self.handle(broker, publish);
        }
        self.plan(later + 3_000, Plan::Stray(session, broker));
    }

    /// Somebody publishes a batch that is not of now, at any broker.
    pub(super) fn publish_untimely(&mut self, n: usize) {
        self.plan(UNTIMELY_MS, Plan::Untimely(n + 1));
        let serving = self.serving();
        let Some(broker) = self.random.pick(&serving).filter(|_| !self.settling) else { return };
        let Some(batch) = self.untimely.get(n % self.untimely.len().max(1)).cloned() else { return };
        let session = self.open(broker, Client::Stray, None);
        self.last_request += 1;
        let (request, ack) = (self.last_request, AckLevel::Stored.into());
        self.handle(broker, InEvent::Publish { session, request, ack, batch });
        self.plan(3_000, Plan::Stray(session, broker));
    }

    fn is_barred(&self, n: usize) -> bool {
        self.publishers[n].revoked_at.is_some_and(|at| at < self.now)
    }

    fn send_batch(&mut self, n: usize, batch: Arc<VerifiedBatch>) {
        let Some(session) = self.publishers[n].session else { return };
        let ack = if let Some(ack) = self.settings.ack {
            ack
        } else if self.settling {
            Ack::new(AckLevel::Durable, self.publishers[n].copies_max.min(2))
        } else {
            self.publishers[n].draw_ack(&mut self.random)
        };
        self.last_request += 1;
        let request = self.last_request;
        let barred = self.is_barred(n);
        self.publishers[n].asked(request, batch.id(), ack, self.now);
        self.reference.note_sent(batch.id(), self.now, barred);
        let broker = self.publishers[n].broker;
        self.handle(broker, InEvent::Publish { session, request, ack, batch });
    }

    fn publisher_receives(&mut self, n: usize, message: ServerMessage) {
        match message {
            ServerMessage::Ack { request, batch, ack, .. } => {
                let Some(asked) = self.publishers[n].acked(request, batch, ack) else {
                    return self
                        .violate(format!("publisher {n} was acked what it had not asked for: {batch:?}"));
                };
                if ack.level < asked.level || ack.copies < asked.copies {
                    self.violate(format!("publisher {n} asked for {asked} and was acked {ack}: {batch:?}"));
                }
                let ack = Ack::new(asked.level, asked.copies);
                let copies = self.reference.note_acked(batch, ack) + self.liars(batch);
                if copies < u32::from(ack.copies) {
                    self.violate(format!("{batch:?} was acked {ack} and is so at {copies} brokers"));
                }
            }
            ServerMessage::Refused { request, refusal } => {
                let turn = self.publishers[n].refused(request, refusal.code);
                if self.settings.lossless && self.publishers[n].has_begun_anew() {
                    self.violate(format!("publisher {n} lost nothing and began another series: {refusal}"));
                }
                match turn {
                    Turn::None => {}
                    Turn::Reconnect => {
                        let later = self.random.span(50, 600);
                        self.publisher_away(n, later);
                    }
                    Turn::Wrong => self.violate(format!("publisher {n} was refused: {refusal}")),
                }
            }
            other => self.violate(format!("publisher {n} was told {other:?}")),
        }
    }

    /// Liars that were ever to keep a batch: what they say of it counts, and is not so.
    fn liars(&self, batch: BatchId) -> u32 {
        let Some(sealed) = self.reference.find(batch) else { return 0 };
        let at = sealed.batch.header().stream_partition;
        let carries = |who: &Address| self.epochs.iter().any(|epoch| epoch.brokers_of(at).contains(who));
        let liars = self.brokers.iter().filter(|broker| !broker.is_honest() && carries(&broker.address));
        liars.count() as u32
    }

    // ------------------------------------------------ subscribers

    pub(super) fn subscriber_back(&mut self, n: usize) {
        let subscriber = &self.subscribers[n];
        if subscriber.session.is_some() || subscriber.over {
            return;
        }
        let broker = subscriber.broker;
        if !self.brokers[broker].is_up() {
            return self.plan(300, Plan::SubscriberBack(n));
        }
        let session = self.open(broker, Client::Subscriber(n), Some(self.subscribers[n].who));
        self.subscribers[n].session = Some(session);
        let subscribe = self.subscribers[n].ask();
        self.last_request += 1;
        self.handle(broker, InEvent::Subscribe { session, request: self.last_request, subscribe });
    }

    pub(super) fn subscriber_away(&mut self, n: usize, later: i64) {
        if let Some(session) = self.subscribers[n].close() {
            self.close(session);
            self.plan(later, Plan::SubscriberBack(n));
        }
    }

    fn flush(&mut self, n: usize, bytes: usize) {
        let subscriber = &mut self.subscribers[n];
        let (Some(session), Some(subscription)) = (subscriber.session, subscriber.subscription) else {
            return;
        };
        subscriber.queue_bytes -= bytes;
        let broker = subscriber.broker;
        let life = self.brokers[broker].life;
        self.plan(0, Plan::Node(broker, life, Box::new(InEvent::Flushed { session, subscription, bytes })));
    }

    pub(super) fn unstall(&mut self, n: usize) {
        self.subscribers[n].stalled = false;
        let bytes = self.subscribers[n].queue_bytes;
        if bytes > 0 {
            self.flush(n, bytes);
        }
    }

    fn subscriber_receives(&mut self, n: usize, message: ServerMessage) {
        match message {
            ServerMessage::Subscribed { request, subscription } => {
                let subscriber = &mut self.subscribers[n];
                match &mut subscriber.filling {
                    Some(filling) if filling.request == request => filling.subscription = Some(subscription),
                    _ => subscriber.subscription = Some(subscription),
                }
            }
            ServerMessage::Deliver { subscription, batch, .. } if self.is_filling(n, subscription) => {
                if let Some(sealed) = self.reference.delivered(&batch) {
                    self.subscribers[n].take_missing(sealed);
                }
                let broker = self.subscribers[n].broker;
                let (life, bytes) = (self.brokers[broker].life, batch.len());
                if let Some(session) = self.subscribers[n].session {
                    let flushed = InEvent::Flushed { session, subscription, bytes };
                    self.plan(0, Plan::Node(broker, life, Box::new(flushed)));
                }
            }
            ServerMessage::CaughtUp { subscription, .. } if self.is_filling(n, subscription) => {}
            ServerMessage::Ended { subscription, refusal: None, .. } if self.is_filling(n, subscription) => {
                let held = self.subscribers[n].filling.take().map(|filling| filling.held);
                for (index, held) in held.unwrap_or_default().into_iter().enumerate() {
                    match held {
                        Held::Batch(batch, cursor) => self.subscriber_takes(n, batch, cursor, index > 0),
                        Held::CaughtUp(cursor, live) => self.subscriber_caught_up(n, cursor, live),
                    }
                }
            }
            ServerMessage::Deliver { subscription, cursor, batch, .. } => {
                if self.subscribers[n].subscription != Some(subscription) {
                    return self.violate(format!("subscriber {n} has no subscription {subscription:?}"));
                }
                let subscriber = &mut self.subscribers[n];
                subscriber.queue_bytes += batch.len();
                if !subscriber.stalled {
                    self.flush(n, batch.len());
                }
                self.subscriber_takes(n, batch, cursor, true);
            }
            ServerMessage::CaughtUp { cursor, more, .. } => {
                self.subscriber_caught_up(n, cursor, !more);
            }
            ServerMessage::Ended { refusal: Some(refusal), .. } | ServerMessage::Refused { refusal, .. } => {
                self.subscriber_refused(n, refusal);
            }
            other @ (ServerMessage::Ended { refusal: None, .. }
            | ServerMessage::SignedIn { .. }
            | ServerMessage::Ack { .. }
            | ServerMessage::Unsubscribed { .. }) => {
                self.violate(format!("subscriber {n} was told {other:?}"));
            }
        }
    }

    fn is_filling(&self, n: usize, subscription: SubscriptionId) -> bool {
        self.subscribers[n].filling.as_ref().is_some_and(|it| it.subscription == Some(subscription))
    }

    fn subscriber_caught_up(&mut self, n: usize, cursor: Cursor, live: bool) {
        match &mut self.subscribers[n].filling {
            Some(filling) => filling.held.push_back(Held::CaughtUp(cursor, live)),
            None => self.subscribers[n].caught_up(cursor, live, self.now),
        }
    }

    /// A batch has come to a subscriber. `fills`: it may ask for what is missing before it.
    fn subscriber_takes(&mut self, n: usize, batch: Bytes, cursor: Cursor, fills: bool) {
        let Some(sealed) = self.reference.delivered(&batch) else {
            return self.violate(format!("subscriber {n} was given what nobody sealed"));
        };
        let subscriber = &mut self.subscribers[n];
        if let Some(filling) = &mut subscriber.filling {
            return filling.held.push_back(Held::Batch(batch, cursor));
        }
        if self.settings.metering && sealed.sent_at.is_some_and(|at| at >= self.measured_from) {
            let delay = self.now - sealed.sent_at.unwrap_or(self.now);
            self.meter.delivered(subscriber.broker, sealed.batch.id(), delay);
            self.came.entry((n, sealed.batch.id())).or_insert(self.now);
        }
        let old_ms = subscriber.old_news_ms(sealed);
        if let (Some(max), Some(old_ms)) = (self.settings.old_news_ms_max, old_ms)
            && old_ms > max
        {
            let (broker, id) = (subscriber.broker, sealed.batch.id());
            self.violate(format!(
                "subscriber {n} at broker {broker} is told {id:?}, which is {old_ms} ms old"
            ));
            return;
        }
        if let (Some(max), Some(sent_at)) = (self.settings.told_ms_max, sealed.sent_at)
            && subscriber.wants_live(subscriber.at(), sent_at)
            && self.now - sent_at > max
        {
            let (ms, id) = (self.now - sent_at, sealed.batch.id());
            return self.violate(format!("subscriber {n} is told {id:?} after {ms} ms"));
        }
        let home = self.brokers[subscriber.broker].disk.log.number;
        match subscriber.take(sealed, cursor, home, &self.reference) {
            Ok(Taken::Fits) => {}
            Ok(Taken::Missing(subscribe)) if fills => {
                self.last_request += 1;
                subscriber.fill(self.last_request, sealed, cursor);
                let (broker, request) = (subscriber.broker, self.last_request);
                let Some(session) = subscriber.session else { return };
                let life = self.brokers[broker].life;
                self.plan(
                    0,
                    Plan::Node(broker, life, Box::new(InEvent::Subscribe { session, request, subscribe })),
                );
            }
            Ok(Taken::Missing(_)) => {
                let (broker, id) = (subscriber.broker, sealed.batch.id());
                self.violate(format!("subscriber {n} at broker {broker} never got what lies before {id:?}"));
            }
            Err(what) => {
                let broker = self.subscribers[n].broker;
                self.violate(format!("subscriber {n} at broker {broker} {what}"));
            }
        }
    }

    fn subscriber_refused(&mut self, n: usize, refusal: Refusal) {
        let subscriber = &mut self.subscribers[n];
        match refusal.code {
            Code::MissingPermission if subscriber.revoked => subscriber.over = true,
            Code::MissingPermission => {
                return self.violate(format!("subscriber {n} may read and was refused: {refusal}"));
            }
            // A broker that had nothing of a partition when the reader went, or whose disk has lost it, has nothing that a cursor could
            // lead to.
            Code::InvalidCursor
                if self.settings.faults.has(super::FaultKind::Wipe)
                    || self.settings.faults.has(super::FaultKind::PowerLoss)
                    || !self.brokers[subscriber.broker]
                        .disk
                        .log
                        .has_before(subscriber.at(), subscriber.position()) =>
            {
                subscriber.begin_anew()
            }
            Code::InvalidCursor => {
                return self.violate(format!("subscriber {n} was refused its own cursor: {refusal}"));
            }
            _ => {}
        }
        self.subscriber_away(n, 500);
    }

    /// What a broker tells a client has come.
    pub(super) fn receive(&mut self, session: SessionId, message: ServerMessage) {
        let delivery = matches!(message, ServerMessage::Deliver { .. });
        if self.settings.sabotage.is_none() || !delivery || !self.random.one_in(50) {
            return self.hear_answer(session, message);
        }
        match (self.settings.sabotage, message) {
            (Some(Sabotage::DropDelivery), ServerMessage::Deliver { subscription, batch, .. }) => {
                if let Some((broker, _)) = self.clients.get(&session) {
                    self.handle(*broker, InEvent::Flushed { session, subscription, bytes: batch.len() });
                }
            }
            (Some(Sabotage::DoubleDelivery), message) => {
                self.hear_answer(session, message.clone());
                self.hear_answer(session, message);
            }
            (Some(Sabotage::SwapDeliveries), message) => {
                self.plan(700, Plan::Client(session, Box::new(message)))
            }
            (
                Some(Sabotage::DeliverForged),
                ServerMessage::Deliver { subscription, cursor, received_at, batch },
            ) => {
                let forged = self.reference.all().iter().find(|sealed| sealed.unlawful);
                let batch = forged.map_or(batch, |sealed| sealed.batch.bytes().clone());
                let message = ServerMessage::Deliver { subscription, cursor, received_at, batch };
                self.hear_answer(session, message);
            }
            (_, message) => self.hear_answer(session, message),
        }
    }

    fn hear_answer(&mut self, session: SessionId, message: ServerMessage) {
        match self.clients.get(&session) {
            Some((_, Client::Publisher(n))) => self.publisher_receives(*n, message),
            Some((_, Client::Subscriber(n))) => self.subscriber_receives(*n, message),
            Some((_, Client::Stray)) => {
                if let ServerMessage::Ack { batch, ack, .. } = message {
                    self.reference.note_acked(batch, ack);
                }
            }
            None => {}
        }
    }

    /// A broker's process has ended, and with it the sessions of its clients.
    pub(super) fn lose_clients(&mut self, broker: usize) {
        let here = self.clients.iter().filter(|(_, (at, _))| *at == broker);
        let gone: Vec<_> = here.map(|(session, (_, client))| (*session, *client)).collect();
        for (session, client) in gone {
            self.clients.remove(&session);
            let later = self.random.span(50, 1_500);
            match client {
                Client::Publisher(n) => {
                    self.publishers[n].close();
                    self.plan(later, Plan::PublisherBack(n));
                }
                Client::Subscriber(n) => {
                    self.subscribers[n].close();
                    self.plan(later, Plan::SubscriberBack(n));
                }
                Client::Stray => {}
            }
        }
    }
}
