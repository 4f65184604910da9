use mainstem_plugin_sdk::Failure;

/// One page of a bucket's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of their names.
    pub objects: Vec<Listed>,
    /// What the next page is asked for with, if there is one.
    pub next: Option<String>,
}

/// An object of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub name: String,
    /// Its bytes.
    pub size: u64,
}

impl Listing {
    /// Reads the answer to `ListObjectsV2`: XML, of which the elements that are wanted here have no attributes and no other elements
    /// within.
    ///
    /// # Errors
    /// `unavailable` for what is no such answer.
    pub fn read(xml: &[u8]) -> Result<Self, Failure> {
        let broken = |what| Failure::unavailable(format!("the server's list of objects {what}"));
        let xml = core::str::from_utf8(xml).map_err(|_| broken("is no UTF-8"))?;
        if !xml.contains("<ListBucketResult") || !xml.contains("</ListBucketResult>") {
            return Err(broken("is none"));
        }
        let mut objects = Vec::new();
        let mut rest = xml;
        while let Some((contents, behind)) = element(rest, "Contents") {
            let name = element(contents, "Key").map(|(text, _)| unescaped(text));
            let size = element(contents, "Size").and_then(|(text, _)| text.trim().parse().ok());
            let name = name.flatten().ok_or_else(|| broken("has an object without a name"))?;
            objects.push(Listed { name, size: size.ok_or_else(|| broken("has an object without a size"))? });
            rest = behind;
        }
        let is_cut = element(xml, "IsTruncated").is_some_and(|(text, _)| text.trim() == "true");
        let next = element(xml, "NextContinuationToken").and_then(|(text, _)| unescaped(text));
        if is_cut && next.is_none() {
            return Err(broken("goes on and does not say where"));
        }
        Ok(Self { objects, next: next.filter(|_| is_cut) })
    }
}

/// What stands in the first element of a name, and what stands behind it.
fn element<'a>(xml: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (_, behind) = xml.split_once(&open)?;
    behind.split_once(&close)
}

/// Text with its entities resolved; nothing if there is one that is none.
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('&');
    let mut out = parts.next()?.to_owned();
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
    Some(out)
}
