use k256::ecdsa::SigningKey;
use mainstem_plugin_sdk::Failure;

/// A contract, and the key of its one owner.
pub(crate) struct Owner {
    pub(crate) contract: [u8; 20],
    key: SigningKey,
}

impl Owner {
    /// Of the contract's address and the private key behind it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let fault = || {
            Failure::invalid(
                "the key is none of this type: it is the contract's address, 20 bytes, and its owner's private key of secp256k1, 32",
            )
        };
        let (contract, key) = bytes.split_first_chunk::<20>().ok_or_else(fault)?;
        let key: &[u8; 32] = key.try_into().map_err(|_| fault())?;
        let key = SigningKey::from_bytes(key.into()).map_err(|_| fault())?;
        Ok(Self { contract: *contract, key })
    }

    /// r, s, v, by RFC 6979: one key and digest make one signature.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> [u8; 65] {
        let signed = self.key.sign_prehash_recoverable(digest);
        let (signature, recovery) = signed.expect("a digest of 32 bytes is signed by every key");
        let mut bytes = [27; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] += u8::from(recovery.is_y_odd());
        bytes
    }
}
