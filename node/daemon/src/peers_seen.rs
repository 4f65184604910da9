use crate::peer::{NetworkConfig, NetworkView};
use mainstem_crypto::Address;
use mainstem_protocol::Counters;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Since when this broker has not been of full use to a network that has others: nobody is there to keep copies with it, or
/// it lacks some of what it is to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeersSeen {
    no_peer_since: Option<Instant>,
    unready_since: Option<Instant>,
}

impl PeersSeen {
    /// Takes in how it is now: whether the network `has_others`, with how many of them there is a session, and whether this
    /// broker has all that it is to keep.
    fn hear(&mut self, has_others: bool, peers_up: u64, ready: bool, now: Instant) {
        let since = |before: Option<Instant>, is_so: bool| is_so.then(|| before.unwrap_or(now));
        self.no_peer_since = since(self.no_peer_since, has_others && peers_up == 0);
        self.unready_since = since(self.unready_since, has_others && !ready);
    }

    /// Why this broker cannot be relied on as one of several, if it cannot.
    pub(crate) fn trouble(&self, bounds: &NetworkConfig, now: Instant) -> Option<String> {
        let over = |since: Option<Instant>, max_s: u64| {
            let age = now.saturating_duration_since(since?);
            (max_s > 0 && age > Duration::from_secs(max_s)).then_some(age.as_secs())
        };
        if let Some(seconds) = over(self.no_peer_since, bounds.no_peer_s_max) {
            return Some(format!(
                "degraded: no other broker of the network has been up for {seconds} seconds; what is published here has one \
                 copy"
            ));
        }
        let seconds = over(self.unready_since, bounds.unready_s_max)?;
        Some(format!(
            "degraded: this broker has been filling up for {seconds} seconds; others have more than it has"
        ))
    }
}

/// Looks at the broker's counters whenever they are told, until they no longer are.
pub(crate) async fn keep(
    me: Address,
    view: watch::Receiver<Option<NetworkView>>,
    mut counters: watch::Receiver<Counters>,
    seen: watch::Sender<PeersSeen>,
) {
    while counters.changed().await.is_ok() {
        let (peers_up, ready) = {
            let counters = counters.borrow_and_update();
            (counters.peers_up, counters.ready != 0)
        };
        let has_others = view
            .borrow()
            .as_ref()
            .is_some_and(|view| view.assignment.members.keys().any(|broker| *broker != me));
        seen.send_modify(|seen| seen.hear(has_others, peers_up, ready, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Assignment, ShardCount};
    use std::{collections::BTreeMap, sync::Arc};

    #[test]
    fn a_broker_without_others_or_without_what_it_is_to_keep_is_in_trouble_after_a_while() {
        let bounds = NetworkConfig { no_peer_s_max: 60, unready_s_max: 300, ..NetworkConfig::default() };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = PeersSeen::default();
        seen.hear(true, 0, false, start);
        seen.hear(true, 0, false, at(50));
        assert_eq!(seen.trouble(&bounds, at(60)), None);
        let why = seen.trouble(&bounds, at(61)).unwrap();
        assert!(why.starts_with("degraded: no other broker") && why.contains("61 seconds"), "{why}");
        seen.hear(true, 1, false, at(70));
        assert_eq!(seen.trouble(&bounds, at(300)), None);
        let why = seen.trouble(&bounds, at(301)).unwrap();
        assert!(why.contains("filling up for 301 seconds"), "{why}");
        seen.hear(true, 1, true, at(302));
        assert_eq!(seen.trouble(&bounds, at(100_000)), None);
        // Both begin anew.
        seen.hear(true, 0, false, at(400));
        assert_eq!(seen.trouble(&bounds, at(460)), None);
        let never = NetworkConfig { no_peer_s_max: 0, unready_s_max: 0, ..NetworkConfig::default() };
        assert_eq!(seen.trouble(&never, at(100_000)), None);
        // A network that has no others any more.
        seen.hear(false, 0, false, at(500));
        assert_eq!(seen.trouble(&bounds, at(100_000)), None);
    }

    #[tokio::test]
    async fn only_a_network_with_another_broker_in_it_makes_one_wait_for_others() {
        let me = Address([1; 20]);
        for (brokers, is_alone) in [(&[1_u8][..], true), (&[1, 2], false)] {
            let members = brokers.iter().map(|n| (Address([*n; 20]), u8::MAX));
            let assignment = Arc::new(Assignment::fixed(ShardCount::new(4).unwrap(), 2, members));
            let (_view, viewed) =
                watch::channel(Some(NetworkView { assignment, endpoints: BTreeMap::new() }));
            let (count, counted) = watch::channel(Counters::default());
            let (tell, mut told) = watch::channel(PeersSeen::default());
            let keeping = tokio::spawn(keep(me, viewed, counted, tell));
            count.send_replace(Counters { ready: 1, ..Counters::default() });
            told.changed().await.unwrap();
            let seen = *told.borrow();
            assert_eq!(seen.no_peer_since.is_none(), is_alone, "{brokers:?}");
            assert_eq!(seen.unready_since, None);
            drop(count);
            keeping.await.unwrap();
        }
    }
}
