use mainstem_plugin_sdk::Failure;
use std::borrow::Cow;

/// One page of a bucket's names, as `ListObjectsV2` answers: XML, of which the elements that are wanted here have no attributes and no other
/// elements within.
///
/// It is read in one pass, as all names are listed in one call of a plugin: some 300 bytes for each object, most of which are passed over eight
/// at a time.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    rest: &'a [u8],
}

impl<'a> Listing<'a> {
    /// The page in such an answer.
    pub const fn new(xml: &'a [u8]) -> Self {
        Self { rest: xml }
    }

    /// Gives the name and the bytes of each object to `each`, in the order of the page; returns what the next page is asked for with, if there
    /// is one.
    ///
    /// # Errors
    /// `unavailable` for what is no such answer, or ends before its end. `each` may have had some objects then.
    pub fn read(mut self, mut each: impl FnMut(&str, u64)) -> Result<Option<String>, Failure> {
        let (mut has_begun, mut is_cut, mut next) = (false, false, None);
        let (mut name, mut size) = (None, None);
        while self.skip_to_tag() {
            // By their first bytes: most tags are none of these.
            match self.rest.first() {
                Some(b'K') => name = self.text(b"Key>").or(name),
                Some(b'S') => size = self.text(b"Size>").or(size),
                Some(b'C') if self.rest.starts_with(b"Contents>") => (name, size) = (None, None),
                Some(b'I') => {
                    is_cut |= self.text(b"IsTruncated>").is_some_and(|it| it.trim_ascii() == b"true")
                }
                Some(b'N') => next = self.text(b"NextContinuationToken>").or(next),
                Some(b'L') => has_begun |= self.rest.starts_with(b"ListBucketResult"),
                Some(b'/') if self.rest.starts_with(b"/Contents>") => {
                    let name = name.take().and_then(unescaped);
                    let name = name.ok_or_else(|| broken("has an object without a name"))?;
                    let size = size.take().and_then(number);
                    each(&name, size.ok_or_else(|| broken("has an object without a size"))?);
                }
                Some(b'/') if has_begun && self.rest.starts_with(b"/ListBucketResult>") => {
                    let next = next.and_then(unescaped).map(Cow::into_owned);
                    return match next {
                        None if is_cut => Err(broken("goes on and does not say where")),
                        next => Ok(next.filter(|_| is_cut)),
                    };
                }
                Some(_) | None => {}
            }
        }
        Err(broken("is none, or ends before its end"))
    }

    /// Goes on behind the next `<`, if there is one.
    fn skip_to_tag(&mut self) -> bool {
        const EACH: u64 = u64::MAX / 0xff;
        let (words, _) = self.rest.as_chunks::<8>();
        let mut at = 0;
        for word in words {
            let other = u64::from_le_bytes(*word) ^ (EACH * b'<' as u64);
            // The lowest bit that is set is at the first byte that is 0.
            let found = other.wrapping_sub(EACH) & !other & (EACH << 7);
            if found != 0 {
                at += found.trailing_zeros() as usize / 8;
                self.rest = &self.rest[at + 1..];
                return true;
            }
            at += 8;
        }
        let tail = &self.rest[at..];
        match tail.iter().position(|byte| *byte == b'<') {
            Some(more) => {
                self.rest = &tail[more + 1..];
                true
            }
            None => false,
        }
    }

    /// What stands in the element whose tag, but its `<`, begins here; it goes on behind it.
    fn text(&mut self, tag: &[u8]) -> Option<&'a [u8]> {
        let text = self.rest.strip_prefix(tag)?;
        self.rest = text;
        if !self.skip_to_tag() {
            return None;
        }
        Some(&text[..text.len() - self.rest.len() - 1])
    }
}

fn broken(what: &str) -> Failure {
    Failure::unavailable(format!(
        "the list of the bucket's objects {what}: see whether endpoint names a server that speaks S3, and what stands between"
    ))
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Text with its entities resolved; nothing if it is no UTF-8, or there is one that is none.
fn unescaped(text: &[u8]) -> Option<Cow<'_, str>> {
    let text = core::str::from_utf8(text).ok()?;
    let mut parts = text.split('&');
    let first = parts.next()?;
    if first.len() == text.len() {
        return Some(Cow::Borrowed(text));
    }
    let mut out = first.to_owned();
    for part in parts {
        let (entity, rest) = part.split_once(';')?;
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let character = match (entity, entity.strip_prefix("#x"), entity.strip_prefix('#')) {
            ("amp", _, _) => '&',
            ("lt", _, _) => '<',
            ("gt", _, _) => '>',
            ("quot", _, _) => '"',
            ("apos", _, _) => '\'',
            (_, Some(digits), _) => number(digits, 16)?,
            (_, None, Some(digits)) => number(digits, 10)?,
            (_, None, None) => return None,
        };
        out.push(character);
        out.push_str(rest);
    }
    Some(Cow::Owned(out))
}
