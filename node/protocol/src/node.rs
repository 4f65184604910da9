use crate::{
    Config, Counters, InEvent, Now, OutEvent, ServerMessage, SessionId,
    publish::{Context, Ingest, Publish},
    session::Sessions,
    subscription::Delivery,
};
use mainstem_model::{Refusal, Registry, RegistryChange};

/// A broker: everything it knows, and nothing it does itself.
#[derive(Debug)]
pub struct Node {
    config: Config,
    registry: Registry,
    sessions: Sessions,
    ingest: Ingest,
    delivery: Delivery,
    counters: Counters,
    next_read: u64,
}

impl Node {
    /// A node over a store whose number is `log` (part of its cursors). It knows no streams until told by
    /// [`InEvent::Registry`].
    pub fn new(config: Config, log: u64) -> Self {
        Self {
            ingest: Ingest::new(&config),
            delivery: Delivery::new(log),
            config,
            registry: Registry::default(),
            sessions: Sessions::default(),
            counters: Counters::default(),
            next_read: 0,
        }
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

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        Counters {
            sessions: self.sessions.len() as u64,
            subscriptions: self.delivery.len() as u64,
            write_queue_bytes: self.ingest.queue_bytes() as u64,
            delivery_queue_bytes: self.delivery.queue_bytes() as u64,
            ..self.counters.clone()
        }
    }

    /// Takes one thing that happened; what is to be done about it is added to `out`, in order.
    pub fn handle(&mut self, event: InEvent, now: Now, out: &mut Vec<OutEvent>) {
        let Self { config, registry, sessions, ingest, delivery, counters, next_read } = self;
        if let InEvent::Registry(change) = event {
            let stream = match &change {
                RegistryChange::Stream(record) => Some(record.id),
                RegistryChange::Removed(id) | RegistryChange::Grant(id, ..) => Some(*id),
                RegistryChange::Delegation(..) => None,
            };
            registry.apply(change);
            if let Some(stream) = stream {
                let cx = &mut Context { config, registry, sessions, counters, next_read, now, out };
                delivery.handle_rights(stream, cx);
            }
            return;
        }
        let cx = &mut Context { config, registry, sessions, counters, next_read, now, out };
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
                ingest.handle_publish(Publish { session, request, ack, batch }, cx);
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
            InEvent::HeadRead { series, result } => ingest.handle_head(series, result, cx),
            InEvent::BatchRead { read, result } => ingest.handle_batch(read, result, cx),
            InEvent::Stored { writes } => {
                for stored in ingest.handle_stored(writes, cx) {
                    delivery.deliver(&stored, cx);
                }
            }
            InEvent::Frozen { write, result } => ingest.handle_frozen(write, result, cx),
            InEvent::Durable { writes } => ingest.handle_durable(writes, cx),
            InEvent::StoreFailed { refusal } => ingest.handle_failure(refusal, cx),
            InEvent::StartResolved { read, result } => delivery.handle_start(read, result, cx),
            InEvent::PageRead { read, result } => delivery.handle_page(read, result, cx),
            InEvent::Tick => delivery.handle_tick(cx),
            InEvent::Registry(_)
            | InEvent::Assigned(_)
            | InEvent::PeerUp { .. }
            | InEvent::PeerDown { .. }
            | InEvent::Peer { .. }
            | InEvent::PeerFaulty { .. }
            | InEvent::SeriesRead { .. }
            | InEvent::PartitionsListed { .. }
            | InEvent::HeadsDigested { .. }
            | InEvent::HeadsSummarized { .. } => {}
        }
    }
}

fn reply(session: SessionId, request: u64, result: Result<(), Refusal>, cx: &mut Context<'_>) {
    match result {
        Ok(()) => cx.out.push(OutEvent::Send { session, message: ServerMessage::SignedIn { request } }),
        Err(refusal) => cx.refuse(session, request, refusal),
    }
}
