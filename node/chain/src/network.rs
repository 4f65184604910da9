//! The brokers of a network and who of them carries what, as the coordinator's events tell.

mod brokers;
mod event;

pub use brokers::Brokers;
pub(crate) use brokers::Undo;
pub use event::NetworkEvent;
pub(crate) use event::topics;

use mainstem_crypto::Address;
use mainstem_model::Assignment;
use std::{collections::BTreeMap, sync::Arc};

/// The epoch in force, and who is in it. It never changes: another epoch, or another word of a broker, is another view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkView {
    /// Who carries what. Its members are the brokers of this epoch and those that are known to come; all with their weights
    /// as of this epoch.
    pub assignment: Arc<Assignment>,
    /// Unix second at which the epoch began.
    pub started_at_s: u64,
    /// Where each member says that it can be found: multiaddresses, without the peer id. Hostile input.
    pub endpoints: BTreeMap<Address, Vec<String>>,
    /// What each member says about itself. Hostile input.
    pub metadata: BTreeMap<Address, String>,
}
