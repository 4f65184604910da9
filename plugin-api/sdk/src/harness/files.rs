use super::node::{at_most, write};
use crate::Failure;
use mainstem_plugin_abi::{
    limits::{BLOB_NAME_BYTES_MAX, BLOB_NAMES_MAX, BLOB_READ_BYTES_MAX},
    plugin_capnp::blob_request,
};
use std::{cell::RefCell, collections::BTreeMap, ops::Bound};

/// Files by their names.
type Folder = BTreeMap<String, Vec<u8>>;

/// A plugin's own files in a test: as they are, and as they would be if the power failed now.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// As they are.
    pub now: RefCell<Folder>,
    /// What outlives the power for certain.
    pub durable: RefCell<Folder>,
}

impl Files {
    /// What a plugin finds that is started after the power has failed: what was synced, and nothing else.
    #[must_use]
    pub fn without_power(&self) -> Self {
        let durable = self.durable.borrow().clone();
        Self { now: RefCell::new(durable.clone()), durable: RefCell::new(durable) }
    }

    pub(super) fn answer(&self, request: blob_request::Reader<'_>) -> Result<Vec<u8>, Failure> {
        let name = request.get_name()?.to_str().unwrap_or("\u{fffd}");
        let mut now = self.now.borrow_mut();
        let which =
            request.which().map_err(|_| Failure::unsupported("this call of files is not known here"))?;
        if !matches!(which, blob_request::List(_)) {
            check_name(name)?;
        }
        match which {
            blob_request::Size(()) => Ok(size(now.get(name).map_or(0, Vec::len))),
            blob_request::Append(bytes) => {
                let file = now.entry(name.to_owned()).or_default();
                file.extend_from_slice(bytes?);
                Ok(size(file.len()))
            }
            blob_request::Read(range) => {
                let range = range?;
                at_most("bytes to read", range.get_length(), BLOB_READ_BYTES_MAX)?;
                let file = now.get(name).map_or(&[][..], Vec::as_slice);
                let from = usize::try_from(range.get_offset()).unwrap_or(usize::MAX).min(file.len());
                let until = from.saturating_add(range.get_length() as usize).min(file.len());
                Ok(write(until - from, |mut reply| reply.set_bytes(&file[from..until])))
            }
            blob_request::Put(bytes) => {
                let bytes = bytes?.to_vec();
                now.insert(name.to_owned(), bytes.clone());
                self.sync_names(&now);
                self.durable.borrow_mut().insert(name.to_owned(), bytes);
                Ok(done())
            }
            blob_request::Sync(()) => {
                self.sync_names(&now);
                if let Some(file) = now.get(name) {
                    self.durable.borrow_mut().insert(name.to_owned(), file.clone());
                }
                Ok(done())
            }
            blob_request::Cut(size) => {
                if let Some(file) = now.get_mut(name) {
                    file.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                }
                Ok(done())
            }
            blob_request::Delete(()) => {
                now.remove(name);
                Ok(done())
            }
            blob_request::List(count) => {
                at_most("names", count, BLOB_NAMES_MAX)?;
                let names = now.range::<str, _>((Bound::Excluded(name), Bound::Unbounded));
                let names: Vec<_> = names.take(count as usize).collect();
                Ok(write(names.len() * 64, |reply| {
                    let mut to = reply.init_names(names.len() as u32);
                    for (index, (name, file)) in (0..).zip(&names) {
                        let mut to = to.reborrow().get(index);
                        to.set_name(name.as_str());
                        to.set_size(file.len() as u64);
                    }
                }))
            }
        }
    }

    /// Names that went are gone for good. One that came has no bytes until it is synced itself.
    fn sync_names(&self, now: &Folder) {
        let mut durable = self.durable.borrow_mut();
        durable.retain(|name, _| now.contains_key(name));
        for name in now.keys() {
            durable.entry(name.clone()).or_default();
        }
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    if begins && name.len() <= BLOB_NAME_BYTES_MAX && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Failure::invalid(format!("{name:?} is no name of a file")))
}

fn size(bytes: usize) -> Vec<u8> {
    write(8, |mut reply| reply.set_size(bytes as u64))
}

fn done() -> Vec<u8> {
    write(8, |mut reply| reply.set_done(()))
}
