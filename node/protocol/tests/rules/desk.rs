use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{
    AckLevel, Assignment, Batch, Code, Grant, Network, NewEvent, Partition, RegistryChange, SeriesId,
    SeriesKey, SeriesWriter, ShardCount, Signer, StreamId, StreamPartition, StreamRecord, VerifiedBatch,
    Verifier,
};
use mainstem_protocol::{
    Config, InEvent, Node, Now, OutEvent, PeerMessage, ReadToken, ServerMessage, SessionId, WriteToken,
};
use std::sync::Arc;

pub(crate) const START_MS: i64 = 1_700_000_000_000;
pub(crate) const NETWORK: Network = Network { chain_id: 31337, registry: Address([1; 20]) };
pub(crate) const STREAM: StreamId = StreamId(Address([2; 20]));
pub(crate) const SESSION: SessionId = SessionId(1);
/// This broker, where there are others.
pub(crate) const ME: Address = Address([0x11; 20]);

/// A node with one public stream and one session, and a hand that does what the node asks for.
pub(crate) struct Desk {
    pub(crate) node: Node,
    pub(crate) now: i64,
    verifier: Verifier,
    requests: u64,
}

impl Desk {
    pub(crate) fn new(config: Config) -> Self {
        let node = Node::new(config, 7);
        let mut desk = Self { node, now: START_MS, verifier: Verifier::new(NETWORK), requests: 0 };
        desk.add_stream(STREAM);
        desk.open(SESSION);
        desk
    }

    pub(crate) fn add_stream(&mut self, id: StreamId) {
        let record = StreamRecord {
            id,
            owner: Address([9; 20]),
            metadata: "{}".into(),
            partitions: 1,
            storage_days: None,
            path: None,
            key_epoch: 0,
            created_at: 0,
        };
        self.handle(InEvent::Registry(RegistryChange::Stream(record)));
        let everything =
            Grant { publish_until: Grant::FOREVER, subscribe_until: Grant::FOREVER, ..Grant::NONE };
        self.handle(InEvent::Registry(RegistryChange::Grant(id, Address::ZERO, everything)));
    }

    pub(crate) fn open(&mut self, session: SessionId) {
        self.handle(InEvent::SessionOpened { session, identity: None });
    }

    pub(crate) fn handle(&mut self, event: InEvent) -> Vec<OutEvent> {
        let mut out = Vec::new();
        self.node.handle(event, Now { unix_ms: self.now, up_ms: self.now }, &mut out);
        out
    }

    pub(crate) fn prove(&self, batch: &Batch) -> Arc<VerifiedBatch> {
        Arc::new(self.verifier.verify(batch.clone()).unwrap())
    }

    pub(crate) fn seal(&self, writer: &mut SeriesWriter, text: &str) -> Arc<VerifiedBatch> {
        let event = NewEvent::binary(self.now, text.as_bytes().to_vec().into());
        self.prove(&writer.seal(&[event]).unwrap())
    }

    pub(crate) fn publish(&mut self, session: SessionId, batch: &Arc<VerifiedBatch>) -> Vec<OutEvent> {
        self.requests += 1;
        let (request, batch) = (self.requests, batch.clone());
        self.handle(InEvent::Publish { session, request, ack: AckLevel::Stored.into(), batch })
    }

    /// A batch of a series that begins here: the store knows no head.
    pub(crate) fn begin(&mut self, session: SessionId, batch: &Arc<VerifiedBatch>) -> Vec<OutEvent> {
        let out = self.publish(session, batch);
        assert!(matches!(out[..], [OutEvent::ReadHead { .. }]), "{out:?}");
        self.handle(InEvent::HeadRead { series: SeriesKey::of(batch.header()), result: Ok(None) })
    }
}

pub(crate) fn peer(number: u8) -> Address {
    Address([number; 20])
}

/// A broker of a network in which `owners` keep everything.
pub(crate) fn broker(config: Config, owners: &[Address]) -> Desk {
    let mut desk = Desk::new(config.clone());
    desk.node = Node::new(config, 7).named(ME);
    desk.add_stream(STREAM);
    desk.open(SESSION);
    assign(&mut desk, 0, owners);
    desk
}

/// From an epoch on `owners` keep everything.
pub(crate) fn assign(desk: &mut Desk, epoch: u32, owners: &[Address]) -> Vec<OutEvent> {
    let members = owners.iter().map(|owner| (*owner, 255));
    let assignment = Assignment::fixed(ShardCount::new(1).unwrap(), owners.len() as u8, members);
    desk.handle(InEvent::Assigned(Arc::new(Assignment { epoch, ..assignment })))
}

/// The same, and the owners are there.
pub(crate) fn broker_beside(owners: &[Address]) -> Desk {
    let mut desk = broker(Config::default(), owners);
    for owner in owners {
        desk.handle(InEvent::PeerUp { peer: *owner });
    }
    desk
}

pub(crate) fn tell(desk: &mut Desk, peer: Address, message: PeerMessage) -> Vec<OutEvent> {
    desk.handle(InEvent::Peer { peer, message })
}

pub(crate) fn at(stream: StreamId) -> StreamPartition {
    stream.partition(Partition::try_from(0).unwrap())
}

pub(crate) fn signer(number: u8) -> Signer {
    Signer::wallet(SecretKey::from_bytes(&[number; 32]).unwrap())
}

pub(crate) fn series(number: u64) -> SeriesWriter {
    SeriesWriter::new(NETWORK, at(STREAM), signer(3), SeriesId(number))
}

/// The read of where a reader begins, or of where the own log ends.
pub(crate) fn start_read(out: &[OutEvent]) -> Option<ReadToken> {
    out.iter().find_map(|output| match output {
        OutEvent::ResolveStart { read, .. } => Some(*read),
        _ => None,
    })
}

/// The read of what came last.
pub(crate) fn last_read(out: &[OutEvent]) -> Option<ReadToken> {
    out.iter().find_map(|output| match output {
        OutEvent::ReadLast { read, .. } => Some(*read),
        _ => None,
    })
}

pub(crate) fn appended(out: &[OutEvent]) -> WriteToken {
    match out {
        [OutEvent::Append { write, .. }] => *write,
        other => panic!("not taken in: {other:?}"),
    }
}

pub(crate) fn refused(out: &[OutEvent]) -> Option<Code> {
    out.iter().find_map(|output| match output {
        OutEvent::Send { message: ServerMessage::Refused { refusal, .. }, .. } => Some(refusal.code),
        _ => None,
    })
}

pub(crate) fn acked_duplicate(out: &[OutEvent]) -> bool {
    out.iter().any(|output| {
        matches!(output, OutEvent::Send { message: ServerMessage::Ack { duplicate: true, .. }, .. })
    })
}
