mod page;

pub use page::Page;

use crate::{Failure, Host, Instance, Parameters, instance::not_known};
use mainstem_plugin_abi::plugin_capnp::{self, query, record, reply, request};

/// A plugin for storage: it keeps records, whose values only the node can read, in the order of their places.
///
/// A node has one instance of it for as long as it runs, and calls it one call after the other.
pub trait Storage: Sized + 'static {
    /// Begins with what was kept before: in the plugin's files, or nothing.
    ///
    /// # Errors
    /// `invalid`, with a sentence that names the parameter; what keeps it from its files.
    fn start(host: &Host<'_>, parameters: &Parameters<'_>) -> Result<Self, Failure>;

    /// Keeps all, in order. Their places rise, and are greater than all that were appended before. On return they outlive the node's process.
    ///
    /// # Errors
    /// None of them is kept for certain. After `unavailable` the node asks again, the same and before any other write, for some time; after any
    /// other failure, and then, it takes no more writes.
    fn append(&mut self, host: &Host<'_>, records: &[Record<'_>]) -> Result<(), Failure>;

    /// On return all that was appended and trimmed outlives the power.
    ///
    /// # Errors
    /// As [`Storage::append`].
    fn sync(&mut self, host: &Host<'_>) -> Result<(), Failure>;

    /// Records in the order of their places.
    ///
    /// # Errors
    /// Nothing can be read now. A record that is there and cannot be read is told among the answer's `damaged`.
    fn query(&mut self, host: &Host<'_>, query: &Query) -> Result<Records, Failure>;

    /// The records of these places, in the order in which they are asked for; those that there are.
    ///
    /// # Errors
    /// As [`Storage::query`].
    fn fetch(&mut self, host: &Host<'_>, places: &[u64]) -> Result<Records, Failure>;

    /// Records that are not wanted any more. They are given no more, after a restart neither, once a [`Storage::sync`] has followed. Places
    /// that are not there are none to speak of.
    ///
    /// # Errors
    /// As [`Storage::append`].
    fn trim(&mut self, host: &Host<'_>, places: &[u64]) -> Result<(), Failure>;
}

/// A record that is to be kept, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Of the whole store.
    pub place: u64,
    /// Of what stands in it, in ms since 1970; for whoever wants to lay files out by time.
    pub timestamp: i64,
    /// The node's own bytes.
    pub value: &'a [u8],
}

/// Which records are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The first place.
    pub from: u64,
    /// Behind the last one.
    pub until: u64,
    /// Records and damaged places of the answer, at most; 1 or more.
    pub records_max: usize,
    /// Bytes of values of the answer; one record may be longer.
    pub bytes_max: usize,
    /// So many bytes of each value are wanted.
    pub prefix_bytes: usize,
}

impl Query {
    /// As much of a value as is wanted.
    pub fn wanted<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        &value[..value.len().min(self.prefix_bytes)]
    }

    /// Whether an answer with so many records, damaged places and bytes has room for one more of `length` bytes.
    pub fn has_room(&self, count: usize, bytes: usize, length: usize) -> bool {
        count == 0 || (count < self.records_max && bytes + length <= self.bytes_max)
    }
}

/// A record as it is given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptRecord {
    /// As it was appended with.
    pub place: u64,
    /// As it was appended with.
    pub timestamp: i64,
    /// As it was appended with, or as much of it as is wanted.
    pub value: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// In the order of their places, or as they were asked for.
    pub records: Vec<KeptRecord>,
    /// Of a query: where to go on; its `until` when there is no more, and when the answer has neither records nor damage.
    pub next: u64,
    /// Places whose record is there and cannot be read, in the same order.
    pub damaged: Vec<u64>,
}

/// An instance of a plugin for storage.
#[derive(Debug)]
pub struct StorageModule<S>(Option<S>);

impl<S> Default for StorageModule<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S: Storage> Instance for StorageModule<S> {
    fn answer(&mut self, host: &Host<'_>, request: request::Reader<'_>) -> Result<Vec<u8>, Failure> {
        match request.which() {
            Ok(request::Start(start)) => {
                if self.0.is_some() {
                    return Err(Failure::invalid("this instance was started before; start a new one"));
                }
                self.0 = Some(S::start(host, &Parameters::read(start?.get_parameters()?)?)?);
                Ok(write_done())
            }
            Ok(request::Append(records)) => {
                let storage = self.started()?;
                let records = records?.iter().map(Record::read).collect::<Result<Vec<_>, Failure>>()?;
                if !records.is_sorted_by(|one, other| one.place < other.place) {
                    return Err(Failure::invalid("the places of what is appended do not rise"));
                }
                storage.append(host, &records)?;
                Ok(write_done())
            }
            Ok(request::Sync(())) => {
                self.started()?.sync(host)?;
                Ok(write_done())
            }
            Ok(request::Query(query)) => {
                let query = Query::read(query?);
                Ok(write_records(&self.started()?.query(host, &query)?))
            }
            Ok(request::Fetch(places)) => {
                let places: Vec<u64> = places?.iter().collect();
                Ok(write_records(&self.started()?.fetch(host, &places)?))
            }
            Ok(request::Trim(places)) => {
                let places: Vec<u64> = places?.iter().collect();
                self.started()?.trim(host, &places)?;
                Ok(write_done())
            }
            Ok(
                request::Verify(_)
                | request::Sign(_)
                | request::Origin(_)
                | request::OnBatch(_)
                | request::OnWatermark(_)
                | request::Snapshot(())
                | request::Restore(_)
                | request::Seal(_)
                | request::Open(_)
                | request::Wrap(_)
                | request::Unwrap(_),
            )
            | Err(_) => Err(not_known("for storage")),
        }
    }
}

impl<S> StorageModule<S> {
    fn started(&mut self) -> Result<&mut S, Failure> {
        self.0.as_mut().ok_or_else(|| Failure::invalid("this instance is not started; `start` comes first"))
    }
}

impl<'a> Record<'a> {
    fn read(from: record::Reader<'a>) -> Result<Self, Failure> {
        Ok(Self { place: from.get_place(), timestamp: from.get_timestamp(), value: from.get_value()? })
    }
}

impl Query {
    fn read(from: query::Reader<'_>) -> Self {
        let prefix = from.get_prefix_bytes() as usize;
        Self {
            from: from.get_from(),
            until: from.get_until(),
            records_max: (from.get_records_max() as usize).max(1),
            bytes_max: from.get_bytes_max() as usize,
            prefix_bytes: if prefix == 0 { usize::MAX } else { prefix },
        }
    }
}

fn write_done() -> Vec<u8> {
    mainstem_plugin_abi::write::<reply::Owned>(8, |mut reply: reply::Builder<'_>| reply.set_done(()))
}

fn write_records(found: &Records) -> Vec<u8> {
    let words = found.records.iter().map(|record| 4 + record.value.len() / 8).sum::<usize>();
    let words = 16 + words + found.damaged.len();
    mainstem_plugin_abi::write::<reply::Owned>(words, |reply: reply::Builder<'_>| {
        let mut to: plugin_capnp::records::Builder<'_> = reply.init_records();
        to.set_next(found.next);
        let mut damaged = to.reborrow().init_damaged(found.damaged.len() as u32);
        for (index, place) in found.damaged.iter().enumerate() {
            damaged.set(index as u32, *place);
        }
        let mut records = to.init_records(found.records.len() as u32);
        for (index, record) in found.records.iter().enumerate() {
            let mut to = records.reborrow().get(index as u32);
            to.set_place(record.place);
            to.set_timestamp(record.timestamp);
            to.set_value(&record.value);
        }
    })
}
