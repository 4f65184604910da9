use crate::OverlayError;
use libp2p::{Multiaddr, core::transport::ListenerId};
use std::error::Error;

/// The listeners that were asked for, and the addresses that they have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listening {
    pub(crate) asked: Vec<ListenerId>,
    pub(crate) open: Vec<(ListenerId, Multiaddr)>,
}

impl Listening {
    pub(crate) fn is_complete(&self) -> bool {
        self.asked.iter().all(|asked| self.open.iter().any(|(id, _)| id == asked))
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        self.open.iter().map(|(_, address)| address)
    }
}

/// Why an address cannot be listened on.
pub(crate) fn failed(address: &Multiaddr, error: &(dyn Error + 'static)) -> OverlayError {
    let (mut why, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    OverlayError::Listen { address: address.to_string(), why }
}
