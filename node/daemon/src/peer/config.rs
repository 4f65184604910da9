use super::NetworkView;
use anyhow::bail;
use mainstem_api::peer::FRAME_BYTES_MAX;
use mainstem_crypto::Address;
use mainstem_model::{Assignment, ShardCount};
use mainstem_overlay::{OverlayError, PeerAddress};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Other brokers. A node that is told of none is alone: it carries everything and opens no port for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NetworkConfig {
    /// The brokers of a network without a chain's registry; the same list, `shards` and `replicas` at each of them. This
    /// node may be in it, and must if its weight is not 255.
    pub(crate) peers: Vec<StaticPeer>,
    /// How many brokers keep each shard, at least 1; all of them where there are fewer.
    pub(crate) replicas: u8,
    /// Into how many shards streams are dealt, a power of two.
    pub(crate) shards: u32,
    /// Brokers of a network in which each has a session with each other. In a larger one a broker has sessions with those that it
    /// asks something of, and that ask it.
    pub(crate) mesh_max: usize,
    /// Messages of all brokers that are proven and wait for the node, at least 1. With more their brokers wait.
    pub(crate) inputs_max: usize,
    /// Messages of one broker and lane that are being proven, at least 1. With more the lane waits. As many more may wait for the proofs
    /// of each plugin's signature type, as long as those of all plugins have half of `overlay.inbox_bytes_max`: nothing waits for
    /// them but what is of the same series. With more a batch on the lane of what is live is refused with `OVERLOADED`, and
    /// comes again; the lane of repair and history waits.
    pub(crate) proofs_max: usize,
    /// Seconds without a session with any other broker after which `/healthz` is degraded (503), where the network has
    /// others: batches have one copy meanwhile. 0 is never.
    pub(crate) no_peer_s_max: u64,
    /// The same while this broker lacks some of what it is to keep.
    pub(crate) unready_s_max: u64,
    /// Connections with other brokers. Only opened when there are any.
    pub(crate) overlay: mainstem_overlay::Config,
}

/// A broker of a network without a chain's registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StaticPeer {
    /// Its address: that of its `node.key`.
    #[serde(with = "address_text")]
    pub(crate) address: Address,
    /// Where it is reached, as multiaddresses. Without any it must dial.
    #[serde(default)]
    pub(crate) endpoints: Vec<PeerAddress>,
    /// Its share of the work: it is eligible for (weight + 1)/256 of the shards.
    #[serde(default = "weight_default")]
    pub(crate) weight: u8,
}

/// Eligible for every shard.
const fn weight_default() -> u8 {
    u8::MAX
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            // One may be away and another fail, and there is still one.
            replicas: 3,
            // Ten times the brokers of a small cluster, so that each has about as much to do.
            shards: 64,
            // The signs of life of so many are some 20 kB a second.
            mesh_max: 128,
            inputs_max: 1_024,
            // A few for each worker thread.
            proofs_max: 32,
            // As long as for the chain.
            no_peer_s_max: 60,
            // Filling up takes a while after a long absence, and is no reason to turn clients away.
            unready_s_max: 900,
            overlay: mainstem_overlay::Config::default(),
        }
    }
}

impl NetworkConfig {
    /// Whether its values go together.
    ///
    /// # Errors
    /// Names the key.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if ShardCount::new(self.shards).is_none() {
            bail!("network.shards is {}; it must be a power of two", self.shards);
        }
        for (key, least) in [
            ("replicas", usize::from(self.replicas)),
            ("inputs_max", self.inputs_max),
            ("proofs_max", self.proofs_max),
        ] {
            if least == 0 {
                bail!("network.{key} is 0; it must be at least 1");
            }
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.peers.iter().find(|peer| !seen.insert(peer.address)) {
            bail!("network.peers names {} twice", twice.address);
        }
        let frame = self.overlay.frame_bytes_max;
        if frame < FRAME_BYTES_MAX {
            bail!("network.overlay.frame_bytes_max is {frame}; it must be at least {FRAME_BYTES_MAX}");
        }
        match self.overlay.check() {
            Ok(()) => Ok(()),
            // It begins with the key.
            Err(OverlayError::Config(why)) => bail!("network.overlay.{why}"),
            Err(error) => Err(error.into()),
        }
    }

    /// What it says of the network; `None` when this node is alone.
    pub(crate) fn view(&self, own: Address) -> Option<NetworkView> {
        if self.peers.is_empty() {
            return None;
        }
        let mut weights: BTreeMap<_, _> = self.peers.iter().map(|peer| (peer.address, peer.weight)).collect();
        weights.entry(own).or_insert_with(weight_default);
        let shards = ShardCount::new(self.shards)?;
        let endpoints =
            |peer: &StaticPeer| (peer.address, peer.endpoints.iter().map(ToString::to_string).collect());
        Some(NetworkView {
            assignment: Arc::new(Assignment::fixed(shards, self.replicas, weights)),
            endpoints: self.peers.iter().map(endpoints).collect(),
        })
    }
}

/// Addresses as text.
mod address_text {
    use mainstem_crypto::Address;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(address: &Address, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(address)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
        String::deserialize(from)?.parse().map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> NetworkConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_node_without_peers_is_alone() {
        assert!(NetworkConfig::default().view(Address([1; 20])).is_none());
    }

    #[test]
    fn every_broker_sees_the_same_network_whether_it_is_in_its_list_or_not() {
        let [one, two] = [Address([1; 20]), Address([2; 20])];
        let list = |addresses: &[Address]| {
            let peer = |address: &Address| {
                format!(
                    "[[peers]]\naddress = \"{address}\"\nendpoints = [\"/ip4/192.0.2.1/udp/7173/quic-v1\"]\n"
                )
            };
            read(&addresses.iter().map(peer).collect::<String>())
        };
        let view = list(&[two]).view(one).unwrap();
        assert_eq!(view.assignment, list(&[one, two]).view(two).unwrap().assignment);
        assert_eq!(view.assignment.members.len(), 2);
        assert_eq!((view.assignment.replicas, view.assignment.shards.number()), (3, 64));
        assert_eq!(view.endpoints[&two], ["/ip4/192.0.2.1/udp/7173/quic-v1"]);
        let light = read(&format!("[[peers]]\naddress = \"{one}\"\nweight = 9"));
        assert_eq!(light.view(one).unwrap().assignment.members[&one].weight, 9);
    }

    #[test]
    fn a_value_that_cannot_be_is_refused_by_its_key() {
        NetworkConfig::default().check().unwrap();
        let address = Address([1; 20]);
        for (text, says) in [
            ("shards = 65".to_owned(), "network.shards is 65"),
            ("replicas = 0".to_owned(), "network.replicas is 0"),
            ("inputs_max = 0".to_owned(), "network.inputs_max is 0"),
            ("proofs_max = 0".to_owned(), "network.proofs_max is 0"),
            (
                format!("peers = [{{ address = \"{address}\" }}, {{ address = \"{address}\" }}]"),
                "network.peers",
            ),
            ("[overlay]\nframe_bytes_max = 1000000".to_owned(), "network.overlay.frame_bytes_max is 1000000"),
            ("[overlay]\nping_ms = 0".to_owned(), "network.overlay.idle_ms must"),
        ] {
            let why = read(&text).check().unwrap_err().to_string();
            assert!(why.starts_with(says), "{text}: {why}");
        }
        for text in [
            "peers = [{ address = \"0x12\" }]",
            "peers = [{ endpoints = [] }]",
            "peers = [{ address = \"0x0101010101010101010101010101010101010101\", endpoints = [\"127.0.0.1:1\"] }]",
            "replica = 3",
        ] {
            assert!(toml::from_str::<NetworkConfig>(text).is_err(), "{text}");
        }
    }
}
