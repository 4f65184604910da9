use crate::{BatchError, Network, StreamId, ids::uint256, limits};
use mainstem_crypto::{Address, Hash, PublicKey, SecretKey, Signature, keccak256, keccak256_of, recover};

/// A wallet's leave for a session key to publish in its name: signature type 2.
///
/// The wallet signs it once, as EIP-712 typed data:
/// `Delegation(address sessionKey,address[] streams,uint64 expiry)` in the domain
/// `{name: "Mainstem", version: "1", chainId, verifyingContract: the StreamRegistry}`.
/// It can be revoked on chain by its digest.
///
/// Bytes: session key 20 ‖ expiry u64 (seconds) ‖ count of streams u16 ‖ streams, 20 each ‖ wallet's signature 65.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Address of the session key.
    pub session_key: Address,
    /// The streams it may publish to; empty means all that the wallet may.
    pub streams: Vec<StreamId>,
    /// Unix seconds; not valid after.
    pub expiry: u64,
    /// The wallet's signature.
    pub signature: Signature,
}

impl Delegation {
    /// Signs a delegation with the wallet's key.
    ///
    /// # Errors
    /// More streams than a delegation can name.
    pub fn sign(
        network: &Network,
        wallet: &SecretKey,
        session_key: Address,
        streams: Vec<StreamId>,
        expiry: u64,
    ) -> Result<Self, BatchError> {
        if streams.len() > limits::DELEGATION_STREAMS_MAX {
            return Err(BatchError::Delegation(
                "it names more than 128 streams; leave the list empty for all",
            ));
        }
        let digest = digest(network, session_key, &streams, expiry);
        Ok(Self { session_key, streams, expiry, signature: wallet.sign(&digest) })
    }

    /// The EIP-712 digest: what the wallet signs and what a revocation names.
    pub fn digest(&self, network: &Network) -> Hash {
        digest(network, self.session_key, &self.streams, self.expiry)
    }

    /// Whether it lets the session key publish to `stream`. Expiry and revocation are for who knows time and chain.
    pub fn covers(&self, stream: StreamId) -> bool {
        self.streams.is_empty() || self.streams.contains(&stream)
    }

    /// The wallet that signed this.
    ///
    /// # Errors
    /// The signature fits no key.
    pub fn wallet(&self, network: &Network) -> Result<PublicKey, BatchError> {
        recover(&self.digest(network), &self.signature)
            .map_err(|_| BatchError::Delegation("its signature fits no wallet"))
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(95 + 20 * self.streams.len());
        out.extend_from_slice(self.session_key.as_bytes());
        out.extend_from_slice(&self.expiry.to_be_bytes());
        // At most DELEGATION_STREAMS_MAX.
        out.extend_from_slice(&(self.streams.len() as u16).to_be_bytes());
        for stream in &self.streams {
            out.extend_from_slice(stream.0.as_bytes());
        }
        out.extend_from_slice(self.signature.as_bytes());
        out
    }

    /// Reads the bytes on the wire.
    ///
    /// # Errors
    /// Any other length than its count says, too many streams, a malformed signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let short = BatchError::Delegation("it is too short or too long");
        let (session_key, rest) = bytes.split_at_checked(20).ok_or(short.clone())?;
        let (expiry, rest) = rest.split_first_chunk::<8>().ok_or(short.clone())?;
        let (count, rest) = rest.split_first_chunk::<2>().ok_or(short.clone())?;
        let count = usize::from(u16::from_be_bytes(*count));
        if count > limits::DELEGATION_STREAMS_MAX {
            return Err(BatchError::Delegation(
                "it names more than 128 streams; leave the list empty for all",
            ));
        }
        let (streams, signature) = rest.split_at_checked(20 * count).ok_or(short.clone())?;
        let address = |bytes: &[u8]| Address::from_slice(bytes).map_err(|_| short.clone());
        Ok(Self {
            session_key: address(session_key)?,
            expiry: u64::from_be_bytes(*expiry),
            streams: streams
                .chunks_exact(20)
                .map(|bytes| address(bytes).map(StreamId))
                .collect::<Result<_, _>>()?,
            signature: Signature::from_slice(signature)
                .map_err(|_| BatchError::Delegation("the wallet's signature is malformed"))?,
        })
    }
}

fn digest(network: &Network, session_key: Address, streams: &[StreamId], expiry: u64) -> Hash {
    let domain = keccak256_of(&[
        &keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
        &keccak256(b"Mainstem"),
        &keccak256(b"1"),
        &uint256(network.chain_id),
        &word(&network.registry),
    ]);
    let list: Vec<u8> = streams.iter().flat_map(|stream| word(&stream.0)).collect();
    let message = keccak256_of(&[
        &keccak256(b"Delegation(address sessionKey,address[] streams,uint64 expiry)"),
        &word(&session_key),
        &keccak256(&list),
        &uint256(expiry),
    ]);
    keccak256_of(&[b"\x19\x01", &domain, &message])
}

/// An address as an ABI word.
fn word(address: &Address) -> [u8; 32] {
    let mut out = [0; 32];
    out[12..].copy_from_slice(address.as_bytes());
    out
}
