use super::{Hostile, Says};
use crate::PeerMessage;
use mainstem_model::{Address, Code, Refusal};

/// Sends whoever wants to follow something on to its accomplices, or to itself.
#[derive(Debug)]
pub(super) struct Misleading {
    liars: Vec<Address>,
}

impl Misleading {
    pub(super) fn among(liars: &[Address]) -> Self {
        Self { liars: liars.to_vec() }
    }
}

impl Hostile for Misleading {
    fn tell(&mut self, peer: Address, message: PeerMessage, _: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        let message = match message {
            PeerMessage::Followed { at, .. } => {
                let refusal = Refusal::new(Code::LimitReached, "this broker has as many links as it takes");
                PeerMessage::NotFollowed { at, refusal, instead: self.liars.clone() }
            }
            honest => honest,
        };
        says.push((peer, message));
    }
}
