use crate::{Address, CryptoError, Hash, PreparedKey, PublicKey, Signature, recover};
use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Keys remembered in each of two generations.
const KEYS_PER_GENERATION_MAX: usize = 4096;
/// Tables kept in each of two generations; with 73 KB each, 9 MB in all.
const TABLES_PER_GENERATION_MAX: usize = 64;
/// Checks after which a key gets its table, at least, and less than twice as many: making one costs as much as four, so strangers gain nothing by
/// many keys, and those that are asked about in turn do not all get theirs in one call.
const CHECKS_UNTIL_TABLE: u32 = 32;

fn checks_until_table(address: &Address) -> u32 {
    CHECKS_UNTIL_TABLE + u32::from(address.0[19]) % CHECKS_UNTIL_TABLE
}

/// Public keys that were recovered once, the busy ones with their tables. Shared between threads.
///
/// At most 8,192 keys and 128 tables, 10 MB in all; those that nobody asks for any more are forgotten first.
#[derive(Debug)]
pub struct KnownKeys(Mutex<Known>);

#[derive(Debug)]
struct Known {
    keys: Generations<(PublicKey, u32)>,
    tables: Generations<Arc<PreparedKey>>,
}

impl Default for KnownKeys {
    fn default() -> Self {
        let keys = Generations::new(KEYS_PER_GENERATION_MAX);
        let tables = Generations::new(TABLES_PER_GENERATION_MAX);
        Self(Mutex::new(Known { keys, tables }))
    }
}

impl KnownKeys {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that the holder of `address` signed `digest`. It says what [`recover`] would, whatever is known: in some 40 µs for a busy key,
    /// 70 for one that is known, 150 for one that is not.
    ///
    /// # Errors
    /// As [`recover`]; [`CryptoError::Mismatch`] if somebody else signed.
    pub fn check(&self, address: Address, digest: &Hash, signature: &Signature) -> Result<(), CryptoError> {
        let mut known = self.known();
        if let Some(table) = known.tables.find(&address).cloned() {
            drop(known);
            return table.verify(digest, signature);
        }
        let Some((key, checks)) = known.keys.find(&address) else {
            drop(known);
            let key = recover(digest, signature)?;
            if key.address() != address {
                return Err(CryptoError::Mismatch);
            }
            self.known().keys.insert(address, (key, 1));
            return Ok(());
        };
        let key = *key;
        *checks = checks.saturating_add(1);
        // Exactly once, whoever else checks meanwhile.
        let busy = *checks == checks_until_table(&address);
        if busy {
            *checks = 0;
        }
        drop(known);
        key.verify(digest, signature)?;
        if busy {
            let table = Arc::new(PreparedKey::new(key));
            self.known().tables.insert(address, table);
        }
        Ok(())
    }
}

/// Values by address; when the young generation is full the old one is dropped.
#[derive(Debug)]
struct Generations<V> {
    young: HashMap<Address, V>,
    old: HashMap<Address, V>,
    max: usize,
}

impl<V> Generations<V> {
    fn new(max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), max }
    }

    fn find(&mut self, address: &Address) -> Option<&mut V> {
        if let Some(value) = self.old.remove(address) {
            self.insert(*address, value);
        }
        self.young.get_mut(address)
    }

    fn insert(&mut self, address: Address, value: V) {
        if self.young.len() >= self.max && !self.young.contains_key(&address) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(address, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SecretKey, keccak256};

    fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes(&[n; 32]).unwrap()
    }

    #[test]
    fn a_busy_key_gets_a_table_and_its_signatures_are_judged_as_before() {
        let (keys, busy) = (KnownKeys::default(), key(1));
        let has_table = || keys.known().tables.find(&busy.address()).is_some();
        let until = checks_until_table(&busy.address());
        assert!((CHECKS_UNTIL_TABLE..2 * CHECKS_UNTIL_TABLE).contains(&until), "{until}");
        for n in 0..until * 2 {
            assert_eq!(has_table(), n >= until, "{n}");
            let digest = keccak256(&n.to_be_bytes());
            keys.check(busy.address(), &digest, &busy.sign(&digest)).unwrap();
            if has_table() {
                let strange = key(2).sign(&digest);
                assert_eq!(keys.check(busy.address(), &digest, &strange), Err(CryptoError::Mismatch));
            }
        }
    }

    #[test]
    fn what_is_found_stays_and_what_is_not_asked_for_is_forgotten() {
        let mut kept = Generations::new(4);
        kept.insert(key(200).address(), 200);
        for n in 1..100 {
            kept.insert(key(n).address(), n);
            assert_eq!(kept.find(&key(200).address()).copied(), Some(200));
            assert!(kept.young.len() <= 4 && kept.old.len() <= 4);
        }
        assert_eq!(kept.find(&key(1).address()), None);
    }
}
