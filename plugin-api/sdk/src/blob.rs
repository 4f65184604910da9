use crate::{Failure, Host, host::unexpected};
use mainstem_plugin_abi::{
    limits::{BLOB_NAMES_MAX, BLOB_READ_BYTES_MAX},
    plugin_capnp::{blob_request, host_reply},
};

/// Files of the plugin's own folder. Capability: `blob`.
///
/// A name is 1 to 128 of `a-z`, `0-9`, `.`, `-` and `_`, beginning with a letter or digit. Each method fails with what the node answers.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a>(pub(crate) Host<'a>);

impl Files<'_> {
    /// Bytes of a file; 0 of one that there is not.
    ///
    /// # Errors
    /// What the node answers.
    pub fn size(&self, name: &str) -> Result<u64, Failure> {
        self.sized(name, 0, |mut blob| blob.set_size(()))
    }

    /// Adds bytes to the end of a file, which is made if it is not there; gives its bytes then.
    ///
    /// # Errors
    /// What the node answers: none of it is there then.
    pub fn append(&self, name: &str, bytes: &[u8]) -> Result<u64, Failure> {
        self.sized(name, bytes.len(), |mut blob| blob.set_append(bytes))
    }

    /// So many bytes of a file from an offset on, or as many as there are. Long stretches are read in several requests.
    ///
    /// # Errors
    /// What the node answers.
    pub fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let mut read = Vec::with_capacity(length.min(8 * BLOB_READ_BYTES_MAX as usize));
        while read.len() < length {
            let (at, now) =
                (offset + read.len() as u64, (length - read.len()).min(BLOB_READ_BYTES_MAX as usize));
            let fill = |blob: blob_request::Builder<'_>| {
                let mut range = blob.init_read();
                range.set_offset(at);
                range.set_length(now as u32);
            };
            let given = self.call(name, 0, fill, |reply| match reply.which() {
                Ok(host_reply::Bytes(bytes)) => {
                    let bytes = bytes?;
                    read.extend_from_slice(bytes);
                    Ok(bytes.len())
                }
                other => Err(unexpected(other.is_ok())),
            })?;
            if given < now {
                break;
            }
        }
        Ok(read)
    }

    /// Writes a whole file, at once or not at all. On return it outlives the power.
    ///
    /// # Errors
    /// What the node answers: what was there before is there then.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.done(name, bytes.len(), |mut blob| blob.set_put(bytes))
    }

    /// Makes what was appended to a file, or cut off, outlive the power; and all names that came and went.
    ///
    /// # Errors
    /// What the node answers. From then on it takes no more writes.
    pub fn sync(&self, name: &str) -> Result<(), Failure> {
        self.done(name, 0, |mut blob| blob.set_sync(()))
    }

    /// Shortens a file to so many bytes.
    ///
    /// # Errors
    /// What the node answers.
    pub fn cut(&self, name: &str, size: u64) -> Result<(), Failure> {
        self.done(name, 0, |mut blob| blob.set_cut(size))
    }

    /// Takes a file away, if it is there.
    ///
    /// # Errors
    /// What the node answers.
    pub fn delete(&self, name: &str) -> Result<(), Failure> {
        self.done(name, 0, |mut blob| blob.set_delete(()))
    }

    /// Names of all files and their bytes, in order.
    ///
    /// # Errors
    /// What the node answers.
    pub fn list(&self) -> Result<Vec<(String, u64)>, Failure> {
        let mut names: Vec<(String, u64)> = Vec::new();
        loop {
            let after = names.last().map(|(name, _)| name.clone()).unwrap_or_default();
            let before = names.len();
            self.call(
                &after,
                0,
                |mut blob| blob.set_list(BLOB_NAMES_MAX),
                |reply| match reply.which() {
                    Ok(host_reply::Names(list)) => {
                        for name in list?.iter() {
                            let text = name.get_name()?.to_str();
                            let text =
                                text.map_err(|_| Failure::malformed("the name of a file is not UTF-8"))?;
                            names.push((text.to_owned(), name.get_size()));
                        }
                        Ok(())
                    }
                    other => Err(unexpected(other.is_ok())),
                },
            )?;
            if names.len() - before < BLOB_NAMES_MAX as usize {
                return Ok(names);
            }
        }
    }

    fn sized(
        &self,
        name: &str,
        bytes: usize,
        fill: impl FnOnce(blob_request::Builder<'_>),
    ) -> Result<u64, Failure> {
        self.call(name, bytes, fill, |reply| match reply.which() {
            Ok(host_reply::Size(size)) => Ok(size),
            other => Err(unexpected(other.is_ok())),
        })
    }

    fn done(
        &self,
        name: &str,
        bytes: usize,
        fill: impl FnOnce(blob_request::Builder<'_>),
    ) -> Result<(), Failure> {
        self.call(name, bytes, fill, |reply| match reply.which() {
            Ok(host_reply::Done(())) => Ok(()),
            other => Err(unexpected(other.is_ok())),
        })
    }

    fn call<T>(
        &self,
        name: &str,
        bytes: usize,
        fill: impl FnOnce(blob_request::Builder<'_>),
        take: impl FnMut(host_reply::Reader<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let words = 16 + (name.len() + bytes) / 8;
        self.0.call(
            words,
            |request| {
                let mut blob = request.init_blob();
                blob.set_name(name);
                fill(blob);
            },
            take,
        )
    }
}
