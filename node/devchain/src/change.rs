//! What happened to a chain: enough to make it happen again.

use revm::primitives::{Address, B256, Bytes};

/// One step in the life of a chain, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A block with one transaction. `hash` is the block's, to prove that executing it again gave the same;
    /// `sender` saves recovering it from the signature again.
    Transaction { timestamp_s: u64, hash: B256, sender: Address, raw: Bytes },
    /// A block with none.
    Empty { timestamp_s: u64, hash: B256 },
    /// All blocks after this number were dropped.
    CutBack { number: u64 },
    /// The clock now runs so far from the caller's.
    Offset { seconds: i64 },
}

const TRANSACTION: u8 = 1;
const EMPTY: u8 = 2;
const CUT_BACK: u8 = 3;
const OFFSET: u8 = 4;

impl Change {
    /// Kind byte, then the fields in the order of declaration, numbers big-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Transaction { timestamp_s, hash, sender, raw } => {
                out.push(TRANSACTION);
                out.extend_from_slice(&timestamp_s.to_be_bytes());
                out.extend_from_slice(hash.as_slice());
                out.extend_from_slice(sender.as_slice());
                out.extend_from_slice(raw);
            }
            Self::Empty { timestamp_s, hash } => {
                out.push(EMPTY);
                out.extend_from_slice(&timestamp_s.to_be_bytes());
                out.extend_from_slice(hash.as_slice());
            }
            Self::CutBack { number } => {
                out.push(CUT_BACK);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Offset { seconds } => {
                out.push(OFFSET);
                out.extend_from_slice(&seconds.to_be_bytes());
            }
        }
        out
    }

    /// `None`: not what [`encode`](Self::encode) makes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let change = match *kind {
            TRANSACTION => {
                let (hash, rest) = rest.split_first_chunk::<32>()?;
                let (sender, raw) = rest.split_first_chunk::<20>()?;
                return Some(Self::Transaction {
                    timestamp_s: u64::from_be_bytes(*number),
                    hash: hash.into(),
                    sender: sender.into(),
                    raw: Bytes::copy_from_slice(raw),
                });
            }
            EMPTY => {
                let hash = rest.try_into().ok()?;
                return Some(Self::Empty { timestamp_s: u64::from_be_bytes(*number), hash });
            }
            CUT_BACK => Self::CutBack { number: u64::from_be_bytes(*number) },
            OFFSET => Self::Offset { seconds: i64::from_be_bytes(*number) },
            _ => return None,
        };
        rest.is_empty().then_some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_decodes_to_itself_and_to_nothing_when_cut_short() {
        let changes = [
            Change::Transaction {
                timestamp_s: 7,
                hash: B256::repeat_byte(1),
                sender: Address::repeat_byte(2),
                raw: Bytes::from_static(b"raw"),
            },
            Change::Empty { timestamp_s: 8, hash: B256::repeat_byte(3) },
            Change::CutBack { number: 9 },
            Change::Offset { seconds: -10 },
        ];
        for change in changes {
            let bytes = change.encode();
            assert_eq!(Change::decode(&bytes), Some(change));
            assert_eq!(Change::decode(&bytes[..8]), None);
        }
        assert_eq!(Change::decode(&[]), None);
        assert_eq!(Change::decode(&[9; 9]), None);
    }
}
