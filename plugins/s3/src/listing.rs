use mainstem_plugin_sdk::Failure;
use std::borrow::Cow;

/// One page of a bucket's names, as `ListObjectsV2` answers: XML, of which the elements that are wanted here have no attributes and no other
/// elements within.
///
/// All names are listed in one call of a plugin, at some 300 bytes for each: most of these are not looked at.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    xml: &'a [u8],
}

impl<'a> Listing<'a> {
    /// The page in such an answer.
    pub const fn new(xml: &'a [u8]) -> Self {
        Self { xml }
    }

    /// Gives the name and the bytes of each object to `each`, in the order of the page; returns what the next page is asked for with, if there
    /// is one. A name is given as it stands in the XML: see [`unescaped`].
    ///
    /// # Errors
    /// `unavailable` for what is no such answer, or ends before its end. `each` may have had some objects then.
    pub fn read(self, mut each: impl FnMut(&[u8], u64)) -> Result<Option<String>, Failure> {
        let mut rest = BEGIN.cut(self.xml).ok_or_else(|| broken("is none"))?.1;
        let (mut head, mut count) = (None, 0);
        let (mut to_key, mut to_end, mut to_size) = (Guess::default(), Guess::default(), Guess::default());
        while let Some((before, object)) = CONTENTS.cut(rest) {
            head = head.or(Some(before));
            let named = || broken("has an object without a name");
            let (before, from_name) = to_key.cut(&KEY, object).ok_or_else(named)?;
            let (name, behind) = to_end.cut(&KEY_END, from_name).ok_or_else(named)?;
            // Amazon, and whoever does as Amazon does, has it behind the name.
            let sized = SIZE.cut(before).or_else(|| to_size.cut(&SIZE, behind));
            let (_, from_size) = sized.ok_or_else(|| broken("has an object without a size"))?;
            let (size, behind_size) = number(from_size).ok_or_else(|| broken("has a size that is none"))?;
            each(name, size);
            count += 1;
            rest = if before.is_empty() { behind_size } else { behind };
        }
        let (tail, _) = END.cut(rest).ok_or_else(|| broken("ends before its end"))?;
        // Without objects all of it is the tail.
        let parts = [head.unwrap_or_default(), tail];
        let within = |tag: &Tag<'_>| {
            let text = parts.iter().find_map(|part| tag.cut(part))?.1;
            text.split(|byte| *byte == b'<').next()
        };
        // Whoever names an object and no size of it would have been given that of the next one.
        if within(&COUNT).is_some_and(|said| number(said).is_none_or(|(said, _)| said != count)) {
            return Err(broken("has not as many objects as it says"));
        }
        if within(&CUT).is_none_or(|is_cut| is_cut.trim_ascii() != b"true") {
            return Ok(None);
        }
        match within(&NEXT).and_then(unescaped) {
            Some(next) => Ok(Some(next.into_owned())),
            None => Err(broken("goes on and does not say where")),
        }
    }
}

/// How far it was to a tag the last time: it is mostly as far again.
#[derive(Default)]
struct Guess(usize);

impl Guess {
    fn cut<'b>(&mut self, tag: &Tag<'_>, bytes: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        if let Some(behind) = bytes.get(self.0..).and_then(|from| from.strip_prefix(tag.text)) {
            return Some((&bytes[..self.0], behind));
        }
        let (before, behind) = tag.cut(bytes)?;
        self.0 = before.len();
        Some((before, behind))
    }
}

/// A text that is searched for, by its last byte: where that is none of its bytes, as many are passed over as it has (Horspool).
struct Tag<'a> {
    text: &'a [u8],
    /// How far to go on from each byte.
    skip: [u8; 256],
}

static BEGIN: Tag<'_> = Tag::new(b"<ListBucketResult");
static END: Tag<'_> = Tag::new(b"</ListBucketResult>");
static CONTENTS: Tag<'_> = Tag::new(b"<Contents>");
static KEY: Tag<'_> = Tag::new(b"<Key>");
static KEY_END: Tag<'_> = Tag::new(b"</Key>");
static COUNT: Tag<'_> = Tag::new(b"<KeyCount>");
static SIZE: Tag<'_> = Tag::new(b"<Size>");
static CUT: Tag<'_> = Tag::new(b"<IsTruncated>");
static NEXT: Tag<'_> = Tag::new(b"<NextContinuationToken>");

impl<'a> Tag<'a> {
    const fn new(text: &'a [u8]) -> Self {
        let mut skip = [text.len() as u8; 256];
        let mut at = 0;
        while at + 1 < text.len() {
            skip[text[at] as usize] = (text.len() - 1 - at) as u8;
            at += 1;
        }
        Self { text, skip }
    }

    /// What stands before it and behind it, where it is first.
    fn cut<'b>(&self, bytes: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        if let Some(behind) = bytes.strip_prefix(self.text) {
            return Some((&[], behind));
        }
        let last = self.text.len() - 1;
        let mut at = last;
        while let Some(byte) = bytes.get(at) {
            if *byte == self.text[last] && bytes[at - last..].starts_with(self.text) {
                return Some((&bytes[..at - last], &bytes[at + 1..]));
            }
            at += usize::from(self.skip[usize::from(*byte)]);
        }
        None
    }
}

fn broken(what: &str) -> Failure {
    Failure::unavailable(format!(
        "the list of the bucket's objects {what}: see whether endpoint names a server that speaks S3, and what stands between"
    ))
}

/// The number that a text begins with, between spaces or none, and the tag behind it, or the end.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.trim_ascii_start();
    let (mut at, mut number) = (0, 0_u64);
    while let Some(digit) = digits.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        number = number.checked_mul(10)?.checked_add(digit.into())?;
        at += 1;
    }
    let behind = digits[at..].trim_ascii_start();
    (at > 0 && matches!(behind.first(), None | Some(b'<'))).then_some((number, behind))
}

/// A text of XML with its entities resolved; nothing if it is no UTF-8, or there is one that is none.
pub fn unescaped(text: &[u8]) -> Option<Cow<'_, str>> {
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
