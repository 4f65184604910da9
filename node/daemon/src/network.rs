//! The network of brokers as this node sees it, and who is told of it.

use crate::driver::Internal;
use mainstem_chain::NetworkView;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// The network as the node's view of the chain has it; `None` while there is no coordinator.
pub(crate) type Network = watch::Receiver<Option<Arc<NetworkView>>>;

/// Lets everybody see a new network, and the state machine who carries what. False once the driver has ended.
///
/// While nobody counts there is nothing to say: the node carries everything alone.
pub(crate) fn show(
    shown: &watch::Sender<Option<Arc<NetworkView>>>,
    tell: &mpsc::UnboundedSender<Internal>,
    network: Arc<NetworkView>,
) -> bool {
    let before = shown.send_replace(Some(network.clone()));
    let is_new = before.is_none_or(|before| before.assignment != network.assignment);
    if !is_new || network.assignment.active() == 0 {
        return true;
    }
    tell.send(Internal::Assigned(network.assignment.clone())).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Address, Assignment, ShardCount};
    use std::collections::BTreeMap;

    #[test]
    fn the_state_machine_hears_of_a_network_when_somebody_counts_and_who_carries_what_has_changed() {
        let network = |epoch, brokers: &[u8], endpoint: &str| {
            let brokers = brokers.iter().map(|n| (Address([*n; 20]), u8::MAX));
            let fixed = Assignment::fixed(ShardCount::new(8).unwrap(), 3, brokers);
            let endpoints = fixed.members.keys().map(|broker| (*broker, vec![endpoint.to_owned()])).collect();
            let assignment = Arc::new(Assignment { epoch, ..fixed });
            Arc::new(NetworkView { assignment, started_at_s: 0, endpoints, metadata: BTreeMap::new() })
        };
        let (shown, mut seen) = watch::channel(None);
        let (tell, mut told) = mpsc::unbounded_channel();
        for (next, is_told) in [
            (network(0, &[], "a"), false),
            (network(1, &[1], "a"), true),
            (network(1, &[1], "b"), false),
            (network(2, &[1, 2], "b"), true),
            (network(3, &[], "b"), false),
        ] {
            assert!(show(&shown, &tell, next.clone()));
            assert_eq!(seen.borrow_and_update().as_ref(), Some(&next));
            let expected = is_told.then(|| next.assignment.clone());
            let heard = told.try_recv().ok().map(|internal| {
                let Internal::Assigned(assignment) = internal else { panic!("{internal:?}") };
                assignment
            });
            assert_eq!(heard, expected, "epoch {}", next.assignment.epoch);
        }
        drop(told);
        assert!(!show(&shown, &tell, network(4, &[1], "a")), "nobody is there any more");
    }
}
