use super::NetworkView;
use mainstem_crypto::Address;
use mainstem_overlay::{Overlay, PeerAddress};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Keeps the overlay connected to the brokers of the view, or, with more than `mesh_max`, to those of them that are sought; but
/// for those that are dropped for now, until nobody drops any.
pub(super) async fn keep(
    overlay: Arc<Overlay>,
    mut view: watch::Receiver<Option<NetworkView>>,
    mut dropped: watch::Receiver<BTreeMap<Address, Instant>>,
    mut sought: watch::Receiver<BTreeMap<Address, Instant>>,
    mesh_max: usize,
) {
    let mut addresses = addresses_of(view.borrow_and_update().as_ref());
    // A view that is fixed has nobody who changes it.
    let mut changes = true;
    loop {
        let now = Instant::now();
        let until: BTreeMap<_, _> = dropped
            .borrow_and_update()
            .iter()
            .filter(|(_, until)| **until > now)
            .map(|(b, u)| (*b, *u))
            .collect();
        let wanted = addresses.iter().filter(|(broker, _)| !until.contains_key(broker));
        let seeks = sought.borrow_and_update().keys().copied().collect();
        // First, so that nobody is dialed that is not sought.
        overlay.seek((addresses.len() > mesh_max).then_some(seeks));
        overlay.set_peers(wanted.map(|(broker, at)| (*broker, at.clone())).collect());
        let next = until.values().min().copied();
        tokio::select! {
            changed = view.changed(), if changes => match changed {
                Ok(()) => addresses = addresses_of(view.borrow_and_update().as_ref()),
                Err(_) => changes = false,
            },
            changed = dropped.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Ok(()) = sought.changed() => {}
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
}

/// What can be dialed. A broker without any such address is wanted too: it may dial, or be found.
fn addresses_of(view: Option<&NetworkView>) -> BTreeMap<Address, Vec<PeerAddress>> {
    let endpoints = view.into_iter().flat_map(|view| &view.endpoints);
    let parse = |(broker, texts): (&Address, &Vec<String>)| {
        let address = |text: &String| match text.parse() {
            Ok(address) => Some(address),
            Err(error) => {
                tracing::warn!(%broker, %error, "an endpoint of a broker is passed over");
                None
            }
        };
        (*broker, texts.iter().filter_map(address).collect())
    };
    endpoints.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Assignment, ShardCount};

    #[test]
    fn an_endpoint_that_is_no_address_costs_its_broker_only_that_one() {
        let good = "/ip4/192.0.2.1/udp/7173/quic-v1";
        let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let endpoints = [
            (Address([1; 20]), of(&["https://broker.example", good])),
            (Address([2; 20]), of(&["nonsense"])),
        ];
        let assignment = Arc::new(Assignment::fixed(ShardCount::new(1).unwrap(), 1, []));
        let found = addresses_of(Some(&NetworkView { assignment, endpoints: endpoints.into() }));
        assert_eq!(found[&Address([1; 20])], [good.parse().unwrap()]);
        assert_eq!(found[&Address([2; 20])], []);
    }
}
