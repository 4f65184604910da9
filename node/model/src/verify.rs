use crate::{
    Batch, BatchError, Delegation, Header, Network, NetworkId, SignatureFault, SignatureScheme,
    SignatureType, SignedHeader,
};
use mainstem_crypto::{Address, Hash, KnownKeys, Signature, personal_message_digest};
use std::{collections::BTreeMap, ops::Deref, sync::Arc};

/// A batch whose signature, Merkle root and time range were checked. Rights, order and clock are still to be looked at.
///
/// Only a [`Verifier`] makes one:
///
/// ```compile_fail,E0451
/// fn forged(batch: mainstem_model::Batch) -> mainstem_model::VerifiedBatch {
///     mainstem_model::VerifiedBatch { batch, delegation: None }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBatch {
    batch: Batch,
    delegation: Option<(Hash, u64)>,
}

impl VerifiedBatch {
    /// Digest and expiry (Unix seconds) of the delegation it stands on, for signature type 2.
    pub const fn delegation_used(&self) -> Option<(Hash, u64)> {
        self.delegation
    }

    /// The batch.
    pub fn into_batch(self) -> Batch {
        self.batch
    }
}

impl Deref for VerifiedBatch {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        &self.batch
    }
}

/// Proves batches of one network. Shared between threads; remembers public keys, since recovering one from a signature
/// costs twice a check against a known one, and tables of the busy ones, with which a check costs half.
#[derive(Debug)]
pub struct Verifier {
    network: Network,
    network_id: NetworkId,
    keys: KnownKeys,
    schemes: BTreeMap<u8, Arc<dyn SignatureScheme>>,
}

impl Verifier {
    /// A verifier for batches of `network`, of signature types 1 and 2.
    pub fn new(network: Network) -> Self {
        Self { network, network_id: network.id(), keys: KnownKeys::default(), schemes: BTreeMap::new() }
    }

    /// The same, with one more signature type. Types 1 and 2 stay what they are; of one type the last scheme counts.
    #[must_use]
    pub fn with(mut self, scheme: Arc<dyn SignatureScheme>) -> Self {
        self.schemes.insert(scheme.signature_type().0, scheme);
        self
    }

    /// The network it proves for.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The number of that network, as headers name it.
    pub const fn network_id(&self) -> NetworkId {
        self.network_id
    }

    /// Proves a batch: network, signature, delegation, Merkle root, time range. Costs about 40 µs for a busy origin, 100 µs for
    /// another, 200 µs for one never seen, and 0.25 µs an event.
    ///
    /// # Errors
    /// The first thing that does not hold. Cheap checks come first.
    pub fn verify(&self, batch: Batch) -> Result<VerifiedBatch, BatchError> {
        self.check_kind(batch.header())?;
        check_times(&batch)?;
        if batch.merkle_root() != batch.header().merkle_root {
            return Err(BatchError::MerkleRoot);
        }
        let delegation = self.verify_header(batch.header(), batch.signature(), batch.delegation())?;
        Ok(VerifiedBatch { batch, delegation })
    }

    /// What can be said of a header without any hashing.
    fn check_kind(&self, header: &Header) -> Result<By<'_>, BatchError> {
        if header.network != self.network_id {
            return Err(BatchError::Network(header.network));
        }
        let (kind, origin) = (header.signature_type, header.origin.kind());
        let no_match = BatchError::OriginType { origin, signature: kind.0 };
        if kind == SignatureType::SECP256K1 || kind == SignatureType::DELEGATED {
            return header.origin.address().map(By::Wallet).ok_or(no_match);
        }
        let scheme = self.schemes.get(&kind.0).ok_or(BatchError::SignatureType(kind.0))?;
        if scheme.speaks_for(origin) { Ok(By::Scheme(&**scheme)) } else { Err(no_match) }
    }

    /// Proves a header alone; gives digest and expiry of the delegation that a type 2 signature stands on.
    pub(crate) fn verify_header(
        &self,
        header: &Header,
        signature: &[u8],
        delegation: &[u8],
    ) -> Result<Option<(Hash, u64)>, BatchError> {
        let origin = match self.check_kind(header)? {
            By::Wallet(address) => address,
            By::Scheme(scheme) => return verify_by(scheme, header, signature, delegation).map(|()| None),
        };
        let signature = Signature::from_slice(signature).map_err(BatchError::Signature)?;
        let digest = personal_message_digest(&header.id().0);
        if header.signature_type == SignatureType::SECP256K1 {
            if !delegation.is_empty() {
                return Err(BatchError::Malformed("a delegation goes with signature type 2 only"));
            }
            return self
                .keys
                .check(origin, &digest, &signature)
                .map(|()| None)
                .map_err(BatchError::Signature);
        }
        let delegation = Delegation::decode(delegation)?;
        if !delegation.covers(header.stream_partition.stream) {
            return Err(BatchError::Delegation("it does not name this stream"));
        }
        let delegation_digest = delegation.digest(&self.network);
        self.keys
            .check(origin, &delegation_digest, &delegation.signature)
            .map_err(|_| BatchError::Delegation("it was not signed by the origin"))?;
        self.keys.check(delegation.session_key, &digest, &signature).map_err(BatchError::Signature)?;
        Ok(Some((delegation_digest, delegation.expiry)))
    }
}

/// Who says whether a signature holds.
enum By<'a> {
    /// This verifier, of the key behind an address.
    Wallet(Address),
    /// A scheme.
    Scheme(&'a dyn SignatureScheme),
}

fn verify_by(
    scheme: &dyn SignatureScheme,
    header: &Header,
    signature: &[u8],
    delegation: &[u8],
) -> Result<(), BatchError> {
    if !delegation.is_empty() {
        return Err(BatchError::Malformed("a delegation goes with signature type 2 only"));
    }
    let fault = |fault| BatchError::Plugin(header.signature_type.0, fault);
    // IMPORTANT: no answer is no yes.
    let none = || Err(SignatureFault::Unavailable("the scheme gave no answer".into()));
    scheme.verify(&[SignedHeader { header, signature }]).pop().unwrap_or_else(none).map_err(fault)
}

fn check_times(batch: &Batch) -> Result<(), BatchError> {
    let (mut least, mut greatest) = (i64::MAX, i64::MIN);
    for event in batch.events() {
        least = least.min(event.timestamp);
        greatest = greatest.max(event.timestamp);
    }
    if (least, greatest) == (batch.header().timestamp_min, batch.header().timestamp_max) {
        Ok(())
    } else {
        Err(BatchError::Timestamps("the header's least and greatest timestamp are not those of its events"))
    }
}
