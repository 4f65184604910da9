//! The network of brokers as this node sees it, and who is told of it.

use crate::peer;
use mainstem_chain::NetworkView;
use mainstem_crypto::Address;
use std::sync::Arc;
use tokio::sync::watch;

/// The network as the node's view of the chain has it; `None` while there is no coordinator.
pub(crate) type Network = watch::Receiver<Option<Arc<NetworkView>>>;

/// Shows the network to whoever looks at it.
#[derive(Debug)]
pub(crate) struct Show {
    me: Address,
    network: watch::Sender<Option<Arc<NetworkView>>>,
    /// For the overlay and the state machine; the configuration's own list of brokers is not changed by the chain.
    peers: Option<watch::Sender<Option<peer::NetworkView>>>,
}

impl Show {
    /// Shows nothing yet but what the configuration says.
    pub(crate) fn new(
        me: Address,
        fixed: Option<peer::NetworkView>,
    ) -> (Self, Network, watch::Receiver<Option<peer::NetworkView>>) {
        let (network, shown) = watch::channel(None);
        let is_fixed = fixed.is_some();
        let (peers, wanted) = watch::channel(fixed);
        (Self { me, network, peers: (!is_fixed).then_some(peers) }, shown, wanted)
    }

    /// Lets everybody see another network.
    ///
    /// While nobody counts, or this node is none of its brokers, it is alone and carries everything.
    pub(crate) fn show(&self, network: &Arc<NetworkView>) {
        let assignment = &network.assignment;
        if let Some(peers) = &self.peers
            && assignment.active() > 0
            && assignment.members.contains_key(&self.me)
        {
            let endpoints = network.endpoints.clone();
            peers.send_replace(Some(peer::NetworkView { assignment: assignment.clone(), endpoints }));
        }
        // IMPORTANT: last: who waits for this finds the others told.
        self.network.send_replace(Some(network.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Assignment, ShardCount};
    use std::collections::BTreeMap;

    fn network(epoch: u32, brokers: &[u8]) -> Arc<NetworkView> {
        let brokers = brokers.iter().map(|n| (Address([*n; 20]), u8::MAX));
        let fixed = Assignment::fixed(ShardCount::new(8).unwrap(), 3, brokers);
        let endpoints = fixed.members.keys().map(|broker| (*broker, vec!["a".to_owned()])).collect();
        let assignment = Arc::new(Assignment { epoch, ..fixed });
        Arc::new(NetworkView { assignment, started_at_s: 0, endpoints, metadata: BTreeMap::new() })
    }

    #[test]
    fn the_overlay_hears_of_a_network_when_this_node_is_one_of_its_brokers() {
        let (show, mut shown, mut wanted) = Show::new(Address([1; 20]), None);
        for (next, is_told) in [
            (network(0, &[]), false),
            (network(1, &[2]), false),
            (network(2, &[1, 2]), true),
            (network(3, &[]), false),
            (network(4, &[1, 2, 3]), true),
        ] {
            show.show(&next);
            assert_eq!(shown.borrow_and_update().as_ref(), Some(&next));
            let told = wanted.has_changed().unwrap();
            assert_eq!(told, is_told, "epoch {}", next.assignment.epoch);
            if told {
                assert_eq!(wanted.borrow_and_update().as_ref().unwrap().assignment, next.assignment);
            }
        }
    }

    #[test]
    fn a_list_in_the_configuration_is_not_changed_by_the_chain() {
        let listed = network(0, &[1, 9]);
        let (assignment, endpoints) = (listed.assignment.clone(), listed.endpoints.clone());
        let (show, _shown, wanted) =
            Show::new(Address([1; 20]), Some(peer::NetworkView { assignment, endpoints }));
        show.show(&network(5, &[1, 2]));
        assert_eq!(wanted.borrow().as_ref().unwrap().assignment, listed.assignment);
    }
}
