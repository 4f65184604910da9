use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// The contract's bounds.
const WEIGHT_MIN: u8 = 32;
const ENDPOINTS_MAX: usize = 8;
const ENDPOINT_BYTES_MAX: usize = 128;
const METADATA_BYTES_MAX: usize = 1024;

/// This node's part in the network of brokers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RegistrationConfig {
    /// Whether the node registers itself as a broker, by its own key (`node.key`). The key's account pays the gas and the
    /// stake. A broker that was slashed, or has left, is not registered again.
    pub(crate) enabled: bool,
    /// Stake, in whole DATA; 0 is the least that the network takes. More gives no more work.
    pub(crate) stake_data: u64,
    /// Share of the work that it wants, 32 to 255: it is eligible for (weight + 1)/256 of the shards. A change takes the
    /// network's challenge time.
    pub(crate) weight: u8,
    /// Where other brokers reach it: at most 8 multiaddresses of 128 bytes each, without the peer id. A port 0 becomes the
    /// one that network.overlay.listen got for the same transport and IP version; if that is another one after a start, the
    /// network is told so, for gas.
    pub(crate) endpoints: Vec<String>,
    /// What it says about itself, at most 1024 bytes.
    pub(crate) metadata: String,
    /// Wait between two looks at whether there is something to do, milliseconds.
    pub(crate) check_ms: u64,
    /// The brokers take turns, in an order that each epoch draws anew: so much longer, milliseconds, does each wait than the one
    /// before it until it begins an epoch that is due. A block's time, so that not two pay for it.
    pub(crate) turn_ms: u64,
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            stake_data: 0,
            weight: u8::MAX,
            endpoints: Vec::new(),
            metadata: "{}".to_owned(),
            // A block of Ethereum.
            check_ms: 12_000,
            turn_ms: 12_000,
        }
    }
}

impl RegistrationConfig {
    /// Whether the coordinator takes it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.weight >= WEIGHT_MIN, "registration.weight is below {WEIGHT_MIN}");
        let fits = |endpoint: &String| (1..=ENDPOINT_BYTES_MAX).contains(&endpoint.len());
        ensure!(
            self.endpoints.len() <= ENDPOINTS_MAX && self.endpoints.iter().all(fits),
            "registration.endpoints are more than {ENDPOINTS_MAX}, or one has not 1 to {ENDPOINT_BYTES_MAX} bytes"
        );
        ensure!(
            self.metadata.len() <= METADATA_BYTES_MAX,
            "registration.metadata is longer than {METADATA_BYTES_MAX} bytes"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_coordinator_would_not_take_is_refused_at_the_start() {
        let sound = RegistrationConfig::default();
        sound.check().unwrap();
        for wrong in [
            RegistrationConfig { weight: 31, ..sound.clone() },
            RegistrationConfig { endpoints: vec![String::new()], ..sound.clone() },
            RegistrationConfig { endpoints: vec!["x".repeat(129)], ..sound.clone() },
            RegistrationConfig { endpoints: vec!["x".to_owned(); 9], ..sound.clone() },
            RegistrationConfig { metadata: "x".repeat(1025), ..sound.clone() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
