//! Recursive Length Prefix (yellow paper, appendix B): encoding, and strict decoding.

use revm::primitives::{B256, U256};

/// Builds the payload of one list.
#[derive(Debug, Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        match bytes {
            [byte] if *byte < 0x80 => self.0.push(*byte),
            _ => {
                header(&mut self.0, 0x80, bytes.len());
                self.0.extend_from_slice(bytes);
            }
        }
        self
    }

    pub(crate) fn uint(self, value: U256) -> Self {
        self.bytes(&value.to_be_bytes_trimmed_vec())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.uint(U256::from(value))
    }

    pub(crate) fn hash(self, value: &B256) -> Self {
        self.bytes(value.as_slice())
    }

    /// An item that is encoded already.
    pub(crate) fn raw(mut self, item: &[u8]) -> Self {
        self.0.extend_from_slice(item);
        self
    }

    pub(crate) fn list(self) -> Vec<u8> {
        list(&self.0)
    }
}

/// A list around items that are encoded already.
pub(crate) fn list(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 9);
    header(&mut out, 0xc0, payload.len());
    out.extend_from_slice(payload);
    out
}

fn header(out: &mut Vec<u8>, base: u8, len: usize) {
    if len < 56 {
        out.push(base + len as u8);
    } else {
        let bytes = len.to_be_bytes();
        let bytes = &bytes[(len.leading_zeros() / 8) as usize..];
        out.push(base + 55 + bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
}

/// Reads items one after another and refuses what is not the shortest encoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

/// What a decoder says: the reason, for people.
pub(crate) type Decoded<T> = Result<T, &'static str>;

impl<'a> Decoder<'a> {
    /// Reads `input` as exactly one list and gives the reader of its items.
    pub(crate) fn of_list(input: &'a [u8]) -> Decoded<Self> {
        let mut outer = Self { rest: input };
        let inner = outer.list()?;
        outer.end()?;
        Ok(inner)
    }

    /// The bytes not yet read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn end(&self) -> Decoded<()> {
        if self.rest.is_empty() { Ok(()) } else { Err("too many items or bytes") }
    }

    pub(crate) fn list(&mut self) -> Decoded<Self> {
        match self.item()? {
            (true, payload) => Ok(Self { rest: payload }),
            (false, _) => Err("bytes where a list belongs"),
        }
    }

    pub(crate) fn bytes(&mut self) -> Decoded<&'a [u8]> {
        match self.item()? {
            (false, payload) => Ok(payload),
            (true, _) => Err("a list where bytes belong"),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        self.bytes()?.try_into().map_err(|_| "a field of the wrong length")
    }

    pub(crate) fn uint(&mut self) -> Decoded<U256> {
        let bytes = self.bytes()?;
        if bytes.first() == Some(&0) {
            return Err("a number with leading zeros");
        }
        U256::try_from_be_slice(bytes).ok_or("a number beyond 256 bits")
    }

    pub(crate) fn u64(&mut self) -> Decoded<u64> {
        u64::try_from(self.uint()?).map_err(|_| "a number beyond 64 bits")
    }

    pub(crate) fn u128(&mut self) -> Decoded<u128> {
        u128::try_from(self.uint()?).map_err(|_| "a number beyond 128 bits")
    }

    /// Whether the next item is a list, and its payload.
    fn item(&mut self) -> Decoded<(bool, &'a [u8])> {
        let head = self.take(1)?;
        let first = head[0];
        match first {
            0x00..=0x7f => Ok((false, head)),
            0x80..=0xb7 => {
                let payload = self.take(usize::from(first - 0x80))?;
                if matches!(payload, [byte] if *byte < 0x80) {
                    return Err("a byte with a needless header");
                }
                Ok((false, payload))
            }
            0xb8..=0xbf => Ok((false, self.long(first - 0xb7)?)),
            0xc0..=0xf7 => Ok((true, self.take(usize::from(first - 0xc0))?)),
            0xf8..=0xff => Ok((true, self.long(first - 0xf7)?)),
        }
    }

    fn long(&mut self, len_of_len: u8) -> Decoded<&'a [u8]> {
        let len = self.take(usize::from(len_of_len))?;
        if len[0] == 0 {
            return Err("a length with leading zeros");
        }
        let len = len.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        if len < 56 {
            return Err("a length with a needless header");
        }
        self.take(usize::try_from(len).map_err(|_| "cut short")?)
    }

    fn take(&mut self, len: usize) -> Decoded<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or("cut short")?;
        self.rest = rest;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        for len in [0, 1, 2, 55, 56, 57, 255, 256, 70_000] {
            let bytes = vec![7u8; len];
            let encoded = Encoder::default().bytes(&bytes).u64(len as u64).list();
            let mut items = Decoder::of_list(&encoded).unwrap();
            assert_eq!(items.bytes().unwrap(), bytes);
            assert_eq!(items.u64().unwrap(), len as u64);
            items.end().unwrap();
        }
    }

    #[test]
    fn a_second_encoding_of_the_same_value_is_refused() {
        let check = |input: &[u8], expected: &str| {
            let result = Decoder::of_list(input).and_then(|mut items| items.uint().and_then(|_| items.end()));
            assert_eq!(result, Err(expected), "{input:02x?}");
        };
        check(&[0xc2, 0x81, 0x05], "a byte with a needless header");
        check(&[0xc1, 0x00], "a number with leading zeros");
        check(&[0xc3, 0x82, 0x00, 0x05], "a number with leading zeros");
        check(&[0xf8, 0x01, 0x05], "a length with a needless header");
        check(&[0xf9, 0x00, 0x38], "a length with leading zeros");
        check(&[0xc1], "cut short");
        check(&[0xff; 9], "cut short");
        check(&[], "cut short");
        check(&[0xc1, 0x05, 0x05], "too many items or bytes");
        check(&[0xc2, 0x05, 0x05], "too many items or bytes");
        check(&[0x83, 1, 2, 3], "bytes where a list belongs");
        check(&[0xc1, 0xc0], "a list where bytes belong");
    }
}
