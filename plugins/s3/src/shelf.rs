use crate::{Bucket, Kind, Name, Object, RECORDS_MAX, Stem, places, unescaped};
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
    /// The objects with records, and their bytes.
    pub(crate) objects: Vec<(Stem, u64)>,
    /// Those beside which something is noted that was trimmed, and the bytes of that.
    pub(crate) gone: Vec<(Stem, u32)>,
    /// Numbers of the notes of what was trimmed, and their bytes.
    pub(crate) notes: Vec<(u64, u32)>,
}

impl Shelf {
    /// # Errors
    /// `invalid` for a prefix that is none.
    pub(crate) fn new(bucket: Bucket, prefix: &str) -> Result<Self, Failure> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/');
        let is_path = prefix.split('/').any(|part| matches!(part, "." | ".."));
        if !(1..=PREFIX_BYTES_MAX).contains(&prefix.len()) || !prefix.bytes().all(fits) || is_path {
            return Err(Failure::invalid(format!(
                "the parameter prefix is none: 1 to {PREFIX_BYTES_MAX} letters, digits, -, ., _ and /, of this node alone, such as mainstem/one/"
            )));
        }
        Ok(Self { bucket, prefix: prefix.to_owned() })
    }

    /// All objects. Names that are none of this plugin's are passed over.
    ///
    /// # Errors
    /// `limit` if there are more with records than `objects_max`, or more than that beside them: a call has neither fuel nor memory for them.
    pub(crate) fn list(&self, host: &Host<'_>, objects_max: usize) -> Result<Found, Failure> {
        let (mut found, mut next, mut others) = (Found::default(), None, 0);
        loop {
            let then =
                self.bucket.list(host, &self.prefix, next.as_deref(), |name, size| match self.own(name) {
                    Some(Name::Of(stem, Kind::Records)) => found.objects.push((stem, size)),
                    Some(Name::Of(stem, Kind::Gone)) => found.gone.push((stem, at_most(size))),
                    Some(Name::Trimmed(number)) => found.notes.push((number, at_most(size))),
                    None => others += 1,
                })?;
            let beside = found.gone.len() + found.notes.len() + others;
            if found.objects.len().max(beside) > objects_max {
                return Err(Failure::limit(format!(
                    "the prefix {} has more than {objects_max} objects, and no more can be listed: write another prefix, or delete from the \
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

    /// What a name in XML says, if it is one of this plugin's behind this prefix. Nothing in them needs an entity, but a server may write some.
    fn own(&self, name: &[u8]) -> Option<Name> {
        let read = |name: &[u8]| Name::read(name.strip_prefix(self.prefix.as_bytes())?);
        read(name).or_else(|| name.contains(&b'&').then(|| read(unescaped(name)?.as_bytes())).flatten())
    }

    /// Writes records that were not there before. Those that are there already, to the byte, are written.
    ///
    /// # Errors
    /// `invalid` if there are others: somebody else writes here.
    pub(crate) fn put_new(&self, host: &Host<'_>, stem: Stem, bytes: &[u8]) -> Result<(), Failure> {
        let name = self.records(stem);
        if self.bucket.put_new(host, &name, bytes)? {
            return Ok(());
        }
        // It may be what was asked for before, and had no answer.
        match self.bucket.read(host, &name, 0, bytes.len() as u32 + 1)? {
            Some(there) if there == bytes => Ok(()),
            Some(there) if there.len() >= bytes.len() || !bytes.starts_with(&there) => {
                Err(Failure::invalid(format!(
                    "{name} is there already with other records: another node writes behind the prefix {}; stop it, and give each node a \
                     prefix of its own",
                    self.prefix
                )))
            }
            Some(_) | None => {
                Err(Failure::unavailable(format!("{name} is there already and cannot be read")))
            }
        }
    }

    /// Writes records anew, or together.
    pub(crate) fn put(&self, host: &Host<'_>, stem: Stem, bytes: &[u8]) -> Result<(), Failure> {
        self.bucket.put(host, &self.records(stem), bytes)
    }

    /// Bytes of an object that has so many; nothing if it is not there.
    ///
    /// # Errors
    /// `unavailable` also if there are fewer than the object has: that is no damage, but what stands between has lost some.
    pub(crate) fn read(
        &self,
        host: &Host<'_>,
        stem: Stem,
        size: u64,
        offset: u64,
        length: u32,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let name = self.records(stem);
        let Some(bytes) = self.bucket.read(host, &name, offset, length)? else { return Ok(None) };
        let there = size.saturating_sub(offset).min(length.into());
        if (bytes.len() as u64) < there {
            let fault = format!("{name}: the server gave {} bytes of {there} from {offset} on", bytes.len());
            return Err(Failure::unavailable(fault));
        }
        Ok(Some(bytes))
    }

    /// The index of an object that has so many bytes, read without its values; nothing if it is damaged or not there.
    pub(crate) fn index(&self, host: &Host<'_>, stem: Stem, size: u64) -> Result<Option<Object>, Failure> {
        let Some(mut bytes) = self.read(host, stem, size, 0, INDEX_BYTES)? else { return Ok(None) };
        let Ok(length) = Object::index_length(&bytes) else { return Ok(None) };
        if let Some(missing) = length.checked_sub(bytes.len()).filter(|missing| *missing > 0) {
            let rest = self.read(host, stem, size, bytes.len() as u64, missing as u32)?;
            bytes.extend(rest.unwrap_or_default());
        }
        Ok(Object::decode(&bytes).ok())
    }

    /// What was trimmed of an object, from a list that has so many bytes at least; of one that is damaged nothing is known, so that nothing is
    /// taken for trimmed. It may name places that the object has no more, as it was written anew.
    pub(crate) fn gone(&self, host: &Host<'_>, stem: Stem, size: u32) -> Result<BTreeSet<u64>, Failure> {
        self.places(host, Name::Of(stem, Kind::Gone), size).map(Option::unwrap_or_default)
    }

    pub(crate) fn put_gone(&self, host: &Host<'_>, stem: Stem, gone: &BTreeSet<u64>) -> Result<(), Failure> {
        self.bucket.put(host, &self.name(Name::Of(stem, Kind::Gone)), &places::encode(gone))
    }

    /// The places in a note of what was trimmed, which has so many bytes; nothing if it is damaged.
    pub(crate) fn note(
        &self,
        host: &Host<'_>,
        number: u64,
        size: u32,
    ) -> Result<Option<BTreeSet<u64>>, Failure> {
        self.places(host, Name::Trimmed(number), size)
    }

    pub(crate) fn put_note(&self, host: &Host<'_>, number: u64, gone: &BTreeSet<u64>) -> Result<(), Failure> {
        self.bucket.put(host, &self.name(Name::Trimmed(number)), &places::encode(gone))
    }

    pub(crate) fn delete(&self, host: &Host<'_>, name: Name) -> Result<(), Failure> {
        self.bucket.delete(host, &self.name(name))
    }

    /// # Errors
    /// `unavailable` also if there are fewer bytes: what stands between has lost some, and what was trimmed would come back for it.
    fn places(&self, host: &Host<'_>, name: Name, size: u32) -> Result<Option<BTreeSet<u64>>, Failure> {
        let (name, most) = (self.name(name), places::length(RECORDS_MAX));
        let Some(bytes) = self.bucket.read(host, &name, 0, most)? else { return Ok(None) };
        let there = size.min(most);
        if bytes.len() < there as usize {
            let fault = format!("{name}: the server gave {} bytes of {there}", bytes.len());
            return Err(Failure::unavailable(fault));
        }
        Ok(places::decode(&bytes))
    }

    fn records(&self, stem: Stem) -> String {
        self.name(Name::Of(stem, Kind::Records))
    }

    fn name(&self, name: Name) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Bytes of a list of places; of one that is none so many that none has as many.
fn at_most(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
