use mainstem_crypto::{Hash, SecretKey, sha256};
use mainstem_model::{Address, Signer};
use std::{collections::BTreeMap, fmt};

/// The keys that a node signs with for its clients, and which API key stands for which of them.
///
/// API keys are known by their SHA-256 only: whoever reads the configuration cannot use them.
#[derive(Clone, Default)]
pub struct Identities {
    keys: BTreeMap<Address, SecretKey>,
    api_keys: Vec<(Hash, Address)>,
}

/// Why an API key cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No secret key was given for this address.
    #[error("the API key stands for {0}, of which the node has no secret key")]
    NoKey(Address),
    /// Two identities cannot have one API key.
    #[error("the API key with hash {0} is there twice")]
    Duplicate(String),
    /// Not the SHA-256 of a key.
    #[error("the hash of an API key is 64 hex digits: its SHA-256")]
    Hash,
}

impl Identities {
    /// No identities: nothing can be published or changed with an API key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key to sign with and gives its address.
    pub fn add(&mut self, key: SecretKey) -> Address {
        let address = key.address();
        self.keys.insert(address, key);
        address
    }

    /// Lets the API key with this SHA-256 (64 hex digits) stand for an identity.
    ///
    /// # Errors
    /// Not a hash, an identity without a key, a hash that is there already.
    pub fn allow(&mut self, api_key_sha256: &str, identity: Address) -> Result<(), IdentityError> {
        let mut hash = [0; 32];
        let digits = api_key_sha256.strip_prefix("0x").unwrap_or(api_key_sha256);
        hex::decode_to_slice(digits, &mut hash).map_err(|_| IdentityError::Hash)?;
        if !self.keys.contains_key(&identity) {
            return Err(IdentityError::NoKey(identity));
        }
        if self.api_keys.iter().any(|(known, _)| *known == hash) {
            return Err(IdentityError::Duplicate(hex::encode(hash)));
        }
        self.api_keys.push((hash, identity));
        Ok(())
    }

    /// Whose API key this is. It takes the same time for every key: all hashes are compared, each to its end.
    pub fn of_api_key(&self, api_key: &str) -> Option<Address> {
        let hash = sha256(api_key.as_bytes());
        let mut found = None;
        for (known, identity) in &self.api_keys {
            if same(known, &hash) {
                found = Some(*identity);
            }
        }
        found
    }

    /// What signs for an identity.
    pub(super) fn signer(&self, identity: Address) -> Option<Signer> {
        self.keys.get(&identity).cloned().map(Signer::wallet)
    }

    /// The identities, by address.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        self.keys.keys().copied()
    }
}

/// Compares without stopping at the first difference.
fn same(a: &Hash, b: &Hash) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities")
            .field("addresses", &self.keys.keys())
            .field("api_keys", &self.api_keys.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_key_finds_its_identity_and_no_other() {
        let mut identities = Identities::new();
        let alice = identities.add(SecretKey::from_bytes(&[1; 32]).unwrap());
        let bob = identities.add(SecretKey::from_bytes(&[2; 32]).unwrap());
        let hash = |key: &str| hex::encode(sha256(key.as_bytes()));
        identities.allow(&hash("alice's"), alice).unwrap();
        identities.allow(&hash("bob's"), bob).unwrap();
        assert_eq!(identities.of_api_key("alice's"), Some(alice));
        assert_eq!(identities.of_api_key("bob's"), Some(bob));
        for wrong in ["", "alice", &hash("alice's")] {
            assert_eq!(identities.of_api_key(wrong), None, "{wrong:?}");
        }
        assert!(matches!(identities.allow(&hash("bob's"), alice), Err(IdentityError::Duplicate(_))));
        assert_eq!(identities.allow("alice's", alice), Err(IdentityError::Hash));
        let stranger = Address([9; 20]);
        assert_eq!(identities.allow(&hash("x"), stranger), Err(IdentityError::NoKey(stranger)));
        assert!(!format!("{identities:?}").contains(&hash("bob's")));
    }
}
