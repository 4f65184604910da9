use super::{Hostile, Says};
use crate::{PeerMessage, PullEnd};
use mainstem_model::{Address, HeadsSummary};

/// Agrees to everything and hides that there is anything.
#[derive(Debug)]
pub(super) struct Hiding;

impl Hostile for Hiding {
    fn tell(&mut self, peer: Address, message: PeerMessage, _: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        let message = match message {
            PeerMessage::Feed { .. }
            | PeerMessage::Store { .. }
            | PeerMessage::Pulled { .. }
            | PeerMessage::Proof { .. } => return,
            PeerMessage::Heads { .. } => PeerMessage::Heads { heads: Vec::new() },
            PeerMessage::Hello { log, epoch, .. } => PeerMessage::Hello { log, epoch, ready: true },
            PeerMessage::PullEnd { pull, .. } => {
                PeerMessage::PullEnd { pull, result: Ok(PullEnd { base: 0, more: false }) }
            }
            PeerMessage::Inventoried { ask, .. } => {
                PeerMessage::Inventoried { ask, partitions: Vec::new(), more: false }
            }
            PeerMessage::Compared { ask, .. } => {
                PeerMessage::Compared { ask, summary: HeadsSummary::Heads(Vec::new()) }
            }
            PeerMessage::PageOf { read, result: Ok(mut page) } => {
                page.batches.clear();
                PeerMessage::PageOf { read, result: Ok(page) }
            }
            honest => honest,
        };
        says.push((peer, message));
    }
}
