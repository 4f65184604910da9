//! Verifying and recovering agree on every signature, key and digest: digest 32 ‖ public key 33 ‖ signature.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstem_crypto::{Hash, PublicKey, Signature, recover};

fuzz_target!(|data: &[u8]| {
    let Some((digest, rest)) = data.split_first_chunk::<32>() else { return };
    let Some((key, signature)) = rest.split_at_checked(33) else { return };
    let digest: &Hash = digest;
    let Ok(signature) = Signature::from_slice(signature) else { return };
    let recovered = recover(digest, &signature);
    if let Ok(found) = &recovered {
        assert_eq!(found.verify(digest, &signature), Ok(()));
    }
    if let Ok(key) = PublicKey::from_sec1(key) {
        assert_eq!(key.verify(digest, &signature).is_ok(), recovered.is_ok_and(|found| found == key));
    }
});
