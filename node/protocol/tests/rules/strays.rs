//! What lies at a broker that is not to keep it, and may lie nowhere else: who is to keep it is told.

use crate::desk::{Desk, STREAM, at, broker_beside, peer, tell};
use mainstem_crypto::Address;
use mainstem_model::StreamPartition;
use mainstem_protocol::{InEvent, OutEvent, PeerMessage};

const OWNER: Address = Address([1; 20]);

fn hello(desk: &mut Desk, ready: bool) {
    tell(desk, OWNER, PeerMessage::Hello { log: 1, epoch: 0, ready });
}

/// An owner asks what there is; of what of it the heads are digested for it.
fn told(desk: &mut Desk) -> Vec<StreamPartition> {
    let out = tell(desk, OWNER, PeerMessage::Inventory { ask: 1, after: None });
    let [OutEvent::ListPartitions { read, .. }] = out[..] else { panic!("{out:?}") };
    let mut out = desk.handle(InEvent::PartitionsListed { read, result: Ok(vec![at(STREAM)]) });
    let Some(OutEvent::DigestHeads { read, partitions }) = out.pop() else { panic!("{out:?}") };
    let digests = vec![Default::default(); partitions.len()];
    desk.handle(InEvent::HeadsDigested { read, result: Ok(digests) });
    partitions
}

#[test]
fn an_owner_that_has_all_is_told_three_times_and_anew_when_it_was_restarted() {
    let mut desk = broker_beside(&[OWNER, peer(2)]);
    hello(&mut desk, true);
    for round in 1..=3 {
        assert_eq!(told(&mut desk), [at(STREAM)], "round {round}");
    }
    assert_eq!(told(&mut desk), [], "it has been told");
    desk.handle(InEvent::PeerDown { peer: OWNER });
    desk.handle(InEvent::PeerUp { peer: OWNER });
    hello(&mut desk, true);
    assert_eq!(told(&mut desk), [], "a session that was lost has cost it nothing");
    // Its disk may have been wiped.
    desk.handle(InEvent::PeerDown { peer: OWNER });
    desk.handle(InEvent::PeerUp { peer: OWNER });
    hello(&mut desk, false);
    for round in 1..=5 {
        assert_eq!(told(&mut desk), [at(STREAM)], "while it fills up, round {round}");
    }
    hello(&mut desk, true);
    for round in 1..=3 {
        assert_eq!(told(&mut desk), [at(STREAM)], "since it has all, round {round}");
    }
    assert_eq!(told(&mut desk), [], "it has been told again");
}
