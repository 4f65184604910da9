use crate::{Bucket, Object, RECORDS_MAX, gone, name_of, place_of};
use mainstem_plugin_sdk::{Failure, Host};
use std::collections::BTreeSet;

/// Bytes that are asked for to read an index: of some hundred records, so that most take one request.
const INDEX_BYTES: u32 = 32 << 10;

/// Bytes of a prefix.
const PREFIX_BYTES_MAX: usize = 512;

/// The objects of one node in a bucket: those whose names begin with its prefix.
#[derive(Debug)]
pub(crate) struct Shelf {
    bucket: Bucket,
    prefix: String,
}

/// What a list of all objects said.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// First places of the objects with records, and their bytes.
    pub(crate) objects: Vec<(u64, u64)>,
    /// First places of the objects of which something was trimmed.
    pub(crate) gone: BTreeSet<u64>,
}

impl Shelf {
    /// # Errors
    /// `invalid` for a prefix that is none.
    pub(crate) fn new(bucket: Bucket, prefix: &str) -> Result<Self, Failure> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/');
        let is_path = prefix.split('/').any(|part| matches!(part, "." | ".."));
        if prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(fits) || is_path {
            return Err(Failure::invalid(format!(
                "the parameter prefix is none: up to {PREFIX_BYTES_MAX} letters, digits, -, ., _ and /, such as mainstem/one/"
            )));
        }
        Ok(Self { bucket, prefix: prefix.to_owned() })
    }

    /// All objects, up to so many names. Names that are none of this plugin's are passed over.
    ///
    /// # Errors
    /// `limit` if there are more names: a call has not the fuel for them.
    pub(crate) fn list(&self, host: &Host<'_>, names_max: usize) -> Result<Found, Failure> {
        let (mut found, mut next, mut names) = (Found::default(), None, 0);
        loop {
            let then = self.bucket.list(host, &self.prefix, next.as_deref(), |name, size| {
                names += 1;
                let Some(name) = name.strip_prefix(&self.prefix) else { return };
                if let Some(first) = place_of(name) {
                    found.objects.push((first, size));
                } else if let Some(first) = gone::place_of(name) {
                    found.gone.insert(first);
                }
            })?;
            if names > names_max {
                return Err(Failure::limit(format!(
                    "the prefix {} has more than {names_max} objects, and no more can be listed: write another prefix, or delete from the \
                     bucket what is not this node's",
                    self.prefix
                )));
            }
            if then.is_none() {
                return Ok(found);
            }
            if then == next {
                return Err(Failure::unavailable(format!(
                    "the list of the bucket's objects has the page {} behind itself: see whether endpoint names a server that speaks S3",
                    next.unwrap_or_default()
                )));
            }
            next = then;
        }
    }

    pub(crate) fn put(&self, host: &Host<'_>, first: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.bucket.put(host, &self.name(&name_of(first)), bytes)
    }

    /// Bytes of an object that has so many; nothing if it is not there.
    ///
    /// # Errors
    /// `unavailable` also if there are fewer than the object has: that is no damage, but what stands between has lost some.
    pub(crate) fn read(
        &self,
        host: &Host<'_>,
        first: u64,
        size: u64,
        offset: u64,
        length: u32,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let name = self.name(&name_of(first));
        let Some(bytes) = self.bucket.read(host, &name, offset, length)? else { return Ok(None) };
        let there = size.saturating_sub(offset).min(length.into());
        if (bytes.len() as u64) < there {
            let fault = format!("{name}: the server gave {} bytes of {there} from {offset} on", bytes.len());
            return Err(Failure::unavailable(fault));
        }
        Ok(Some(bytes))
    }

    /// The index of an object that has so many bytes, read without its values; nothing if it is damaged or not there.
    pub(crate) fn index(&self, host: &Host<'_>, first: u64, size: u64) -> Result<Option<Object>, Failure> {
        let Some(mut bytes) = self.read(host, first, size, 0, INDEX_BYTES)? else { return Ok(None) };
        let Ok(length) = Object::index_length(&bytes) else { return Ok(None) };
        if let Some(missing) = length.checked_sub(bytes.len()).filter(|missing| *missing > 0) {
            let rest = self.read(host, first, size, bytes.len() as u64, missing as u32)?;
            bytes.extend(rest.unwrap_or_default());
        }
        Ok(Object::decode(&bytes).ok())
    }

    /// What was trimmed of an object; of a list that is damaged nothing is known, so that nothing is taken for trimmed. It may name
    /// places that the object has no more, as it was written anew.
    pub(crate) fn gone(&self, host: &Host<'_>, first: u64) -> Result<BTreeSet<u64>, Failure> {
        let name = self.name(&gone::name_of(first));
        let bytes = self.bucket.read(host, &name, 0, gone::length(RECORDS_MAX))?;
        Ok(bytes.and_then(|bytes| gone::decode(&bytes)).unwrap_or_default())
    }

    pub(crate) fn put_gone(
        &self,
        host: &Host<'_>,
        first: u64,
        places: &BTreeSet<u64>,
    ) -> Result<(), Failure> {
        self.bucket.put(host, &self.name(&gone::name_of(first)), &gone::encode(places))
    }

    pub(crate) fn delete(&self, host: &Host<'_>, first: u64) -> Result<(), Failure> {
        self.bucket.delete(host, &self.name(&name_of(first)))
    }

    pub(crate) fn delete_gone(&self, host: &Host<'_>, first: u64) -> Result<(), Failure> {
        self.bucket.delete(host, &self.name(&gone::name_of(first)))
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
