use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many connections each address has open: one host must not take all places.
///
/// Loopback is an address like any other. An IPv6 host has a whole /64 to itself, so that counts as one address.
#[derive(Debug)]
pub(crate) struct Shares {
    max: usize,
    open: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Shares {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place of the address' share, given back when dropped; `None` when it has none left.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let address = counted(address);
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Share { shares: self.clone(), address })
    }

    /// Whether half of the address' share is taken.
    pub(crate) fn is_crowded(&self, address: IpAddr) -> bool {
        self.open().get(&counted(address)).is_some_and(|count| *count > self.max / 2)
    }
}

/// The address that is counted for one that connects.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

/// A place of an address' share.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    address: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.shares.open();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            // Nothing stays of an address that has gone.
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_leaves_nothing_behind() {
        let shares = Shares::new(2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = shares.take(ip("192.0.2.1")).unwrap();
        assert!(!shares.is_crowded(ip("192.0.2.1")));
        let second = shares.take(ip("::ffff:192.0.2.1")).unwrap();
        assert!(shares.is_crowded(ip("192.0.2.1")));
        assert!(shares.take(ip("192.0.2.1")).is_none());
        let _other = shares.take(ip("192.0.2.2")).unwrap();
        drop(first);
        let third = shares.take(ip("192.0.2.1")).unwrap();
        drop((second, third));
        let network = (shares.take(ip("2001:db8::1")).unwrap(), shares.take(ip("2001:db8::2")).unwrap());
        assert!(shares.take(ip("2001:db8::ffff:1:2:3")).is_none(), "one host has a whole /64");
        drop(network);
        assert_eq!(shares.open().len(), 1);
    }
}
