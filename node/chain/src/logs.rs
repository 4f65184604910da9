//! Getting the logs that matter: all of them, however many look-alikes others write between them.

use crate::{
    ChainError, Log, Rpc, View,
    event::{created_topic, granted_topic, owner_topic, registry_topics, stream_topics},
    json, network,
};
use mainstem_crypto::{Address, Hash};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Addresses of one query; the nodes and providers known take at least so many.
const ADDRESSES_MAX: usize = 200;

/// The contracts whose own logs matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours {
    /// `StreamRegistry`.
    pub(crate) registry: Address,
    /// `NetworkCoordinator`.
    pub(crate) coordinator: Address,
}

/// Which blocks to take logs from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blocks {
    /// The one with this hash and number. A node that does not have it says so, so nothing can be missed.
    One(Hash, u64),
    /// All from the first to the second number.
    Range(u64, u64),
}

/// The logs of the registry, of streams and of the coordinator in some blocks, in the order of the chain. Logs of other contracts may
/// be among them.
///
/// # Errors
/// [`ChainError::is_too_many_results`] for a range of several blocks: ask for fewer.
pub(crate) async fn fetch(
    rpc: &Rpc,
    ours: Ours,
    view: &View,
    blocks: Blocks,
) -> Result<Vec<Log>, ChainError> {
    let query = Query { rpc, ours, blocks };
    let mut logs = match query.by_topic(view).await {
        Err(error) if error.is_too_many_results() && blocks.is_one() => {
            // Somebody floods the block with look-alikes: ask for our own contracts one by one.
            query.by_address(view).await?
        }
        logs => logs?,
    };
    if let Some(stray) = logs.iter().find(|log| !blocks.contain(log)) {
        let number = stray.block_number;
        return Err(ChainError::Moved(format!("a log of block {number} is not of the blocks asked for")));
    }
    logs.sort_by_key(|log| (log.block_number, log.index));
    Ok(logs)
}

struct Query<'a> {
    rpc: &'a Rpc,
    ours: Ours,
    blocks: Blocks,
}

impl Query<'_> {
    /// Whatever has the right topics. Few queries; others can write such logs too.
    async fn by_topic(&self, view: &View) -> Result<Vec<Log>, ChainError> {
        if let Blocks::One(..) = self.blocks {
            let topics = our_topics().chain(stream_topics()).chain([owner_topic()]);
            return self.logs(None, topics).await;
        }
        let mut logs = self.own().await?;
        let streams = self.logs(None, stream_topics()).await?;
        // Half of all contracts log OwnershipTransferred. A stream that does logs Granted with it.
        let granted = granted_topic();
        let known = self.known(view, &logs);
        let changed: BTreeSet<Address> = streams
            .iter()
            .filter(|log| log.topics.first() == Some(&granted) && known.contains(&log.address))
            .map(|log| log.address)
            .collect();
        logs.extend(streams);
        let changed: Vec<Address> = changed.into_iter().collect();
        for addresses in changed.chunks(ADDRESSES_MAX) {
            logs.extend(self.logs(Some(addresses), [owner_topic()]).await?);
        }
        Ok(logs)
    }

    /// Only what our own contracts wrote. Queries grow with the number of streams.
    async fn by_address(&self, view: &View) -> Result<Vec<Log>, ChainError> {
        let mut logs = self.own().await?;
        let known: Vec<Address> = self.known(view, &logs).into_iter().collect();
        for addresses in known.chunks(ADDRESSES_MAX) {
            let topics = stream_topics().into_iter().chain([owner_topic()]);
            logs.extend(self.logs(Some(addresses), topics).await?);
        }
        Ok(logs)
    }

    /// What the registry and the coordinator logged.
    async fn own(&self) -> Result<Vec<Log>, ChainError> {
        self.logs(Some(&[self.ours.registry, self.ours.coordinator]), our_topics()).await
    }

    /// The streams that exist, and those that are created in these blocks.
    fn known(&self, view: &View, own: &[Log]) -> BTreeSet<Address> {
        let created = created_topic();
        let new = own
            .iter()
            .filter(|log| log.topics.first() == Some(&created))
            .filter_map(|log| log.topics.get(1).and_then(|topic| Address::from_slice(&topic[12..]).ok()));
        view.registry().streams().map(|record| record.id.0).chain(new).collect()
    }

    async fn logs(
        &self,
        addresses: Option<&[Address]>,
        topics: impl IntoIterator<Item = Hash>,
    ) -> Result<Vec<Log>, ChainError> {
        let topics: Vec<String> = topics.into_iter().map(|topic| json::hash(&topic)).collect();
        let mut filter = self.blocks.json();
        filter["topics"] = json!([topics]);
        if let Some(addresses) = addresses {
            filter["address"] = addresses.iter().map(ToString::to_string).collect();
        }
        self.rpc.agreed_logs(&filter).await
    }
}

fn our_topics() -> impl Iterator<Item = Hash> {
    registry_topics().into_iter().chain(network::topics())
}

impl Blocks {
    const fn is_one(self) -> bool {
        match self {
            Self::One(..) => true,
            Self::Range(first, last) => first == last,
        }
    }

    fn contain(self, log: &Log) -> bool {
        match self {
            Self::One(hash, number) => log.block_hash == hash && log.block_number == number,
            Self::Range(first, last) => (first..=last).contains(&log.block_number),
        }
    }

    fn json(self) -> Value {
        match self {
            Self::One(hash, _) => json!({ "blockHash": json::hash(&hash) }),
            Self::Range(first, last) => {
                json!({ "fromBlock": json::quantity(first), "toBlock": json::quantity(last) })
            }
        }
    }
}
