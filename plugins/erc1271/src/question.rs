use sha3::{Digest, Keccak256};

/// Selector of `isValidSignature(bytes32,bytes)`, and what it returns for yes.
const MAGIC: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];
/// What EIP-191 puts before a message of 32 bytes.
const PREFIX: &[u8] = b"\x19Ethereum Signed Message:\n32";
const WORD: usize = 32;

/// What the contract is asked about: EIP-191 of the batch id, as in signature type 1.
pub fn digest(batch_id: &[u8; 32]) -> [u8; 32] {
    Keccak256::digest([PREFIX, batch_id].concat()).into()
}

/// Call data of `isValidSignature(digest, signature)`.
pub fn question(digest: &[u8; 32], signature: &[u8]) -> Vec<u8> {
    let padding = signature.len().next_multiple_of(WORD) - signature.len();
    let mut data = Vec::with_capacity(4 + 3 * WORD + signature.len() + padding);
    data.extend_from_slice(&MAGIC);
    data.extend_from_slice(digest);
    // Where the bytes begin: behind two words.
    data.extend_from_slice(&word(2 * WORD));
    data.extend_from_slice(&word(signature.len()));
    data.extend_from_slice(signature);
    data.resize(data.len() + padding, 0);
    data
}

/// Whether an answer says yes: the magic value, and zeros to the end of its word. An address that gives back what it was asked (there is
/// one) says no by that.
pub fn is_yes(output: &[u8]) -> bool {
    let mut yes = [0; WORD];
    yes[..4].copy_from_slice(&MAGIC);
    output.starts_with(&yes)
}

fn word(number: usize) -> [u8; WORD] {
    let mut word = [0; WORD];
    word[WORD - 8..].copy_from_slice(&(number as u64).to_be_bytes());
    word
}
