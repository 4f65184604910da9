use crate::{Code, Refusal};
use mainstem_crypto::{Address, PublicKey, Signature, personal_message_digest, recover};

/// What a client signs to sign in: bound to the node, to the name it is reached under, to this connection and to a time.
///
/// The text is for `personal_sign`, so a wallet shows it to its owner:
///
/// ```text
/// Mainstem sign-in
/// node: 0x…
/// audience: https://broker.example
/// nonce: 32 hex digits
/// issued: milliseconds since 1970
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The node's address.
    pub node: Address,
    /// The web origin or transport that the client came through.
    pub audience: String,
    /// Random, of this connection.
    pub nonce: [u8; 16],
}

impl Challenge {
    /// How far a sign-in's own time may be from the node's, either way.
    pub const AGE_MS_MAX: i64 = 5 * 60_000;

    /// The text to sign at `issued_at` (milliseconds).
    pub fn text(&self, issued_at: i64) -> String {
        format!(
            "Mainstem sign-in\nnode: {}\naudience: {}\nnonce: {}\nissued: {issued_at}",
            self.node,
            self.audience,
            hex::encode(self.nonce)
        )
    }

    /// The EIP-191 digest of the text.
    pub fn digest(&self, issued_at: i64) -> [u8; 32] {
        personal_message_digest(self.text(issued_at).as_bytes())
    }

    /// Checks an answer.
    ///
    /// # Errors
    /// `INVALID_SIGN_IN`: too old or too new, a malformed signature, or another signer.
    pub fn verify(
        &self,
        address: Address,
        issued_at: i64,
        signature: &[u8],
        now_ms: i64,
    ) -> Result<PublicKey, Refusal> {
        let refuse = |why: String| Refusal::new(Code::InvalidSignIn, why);
        if now_ms.saturating_sub(issued_at).saturating_abs() > Self::AGE_MS_MAX {
            return Err(refuse(
                "the sign-in was issued more than 5 minutes before or after the node's clock".into(),
            ));
        }
        let signature = Signature::from_slice(signature).map_err(|error| refuse(error.to_string()))?;
        let key = recover(&self.digest(issued_at), &signature).map_err(|error| refuse(error.to_string()))?;
        if key.address() == address {
            Ok(key)
        } else {
            Err(refuse(format!(
                "the challenge was not signed by {address}; sign exactly the text of this connection"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_crypto::SecretKey;

    #[test]
    fn an_answer_holds_for_its_own_challenge_signer_and_time_only() {
        let key = SecretKey::from_bytes(&[5; 32]).unwrap();
        let challenge = Challenge { node: Address([1; 20]), audience: "quic".into(), nonce: [2; 16] };
        let signature = *key.sign(&challenge.digest(1_000)).as_bytes();
        assert!(challenge.verify(key.address(), 1_000, &signature, 1_000 + Challenge::AGE_MS_MAX).is_ok());
        assert!(challenge.verify(key.address(), 1_000, &signature, 1_001 + Challenge::AGE_MS_MAX).is_err());
        assert!(challenge.verify(Address([9; 20]), 1_000, &signature, 1_000).is_err());
        for other in [
            Challenge { node: Address([3; 20]), ..challenge.clone() },
            Challenge { audience: "https://elsewhere".into(), ..challenge.clone() },
            Challenge { nonce: [3; 16], ..challenge.clone() },
        ] {
            assert_eq!(
                other.verify(key.address(), 1_000, &signature, 1_000).unwrap_err().code,
                Code::InvalidSignIn
            );
        }
    }
}
