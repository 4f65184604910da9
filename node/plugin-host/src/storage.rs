use crate::{
    CallError, Plugin,
    plugin::{OwnPlace, is_alive},
    request::words_of,
    start::Start,
};
use bytes::Bytes;
use mainstem_model::{Query, Record, RecordFault, RecordStore, Records};
use mainstem_plugin_abi::{
    Capability, Claim, StorageClaim,
    plugin_capnp::{reply, request},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, fmt, ops::Range};

/// Records of one call, and places that one call names. More are sent in several.
pub(crate) const RECORDS_MAX: usize = 4_096;

/// Places of one call to fetch: a storage may have to unpack more for each of them than it gives.
const FETCHED_MAX: usize = 256;

/// Bytes of values in one call, unless one is longer: they are in a plugin's memory some times over.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// A storage plugin at work. It has one instance as long as it lives, with what it keeps or knows of its files in it; calls go one after
/// the other.
///
/// A fault takes the instance. One that keeps what it is given outside of itself is started again then, if nothing was being written: what
/// was kept is as it was. Else the storage is lost.
pub struct StoragePlugin {
    plugin: Plugin,
    claim: StorageClaim,
    parameters: BTreeMap<String, String>,
    at_work: Mutex<AtWork>,
    /// Held for the whole of a write. What the first that failed for good was answered: there is none after it.
    writing: Mutex<Option<RecordFault>>,
}

#[derive(Default)]
struct AtWork {
    /// None after a fault.
    place: Option<OwnPlace>,
    /// Nobody knows what was kept, or it was in the instance.
    is_lost: bool,
}

/// A call of a write.
type Call<'a> = &'a dyn Fn(&StoragePlugin) -> Result<(), CallError>;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Reads,
    Writes,
}

impl Plugin {
    /// Starts the storage that it is. Parameters that are not given have their defaults.
    ///
    /// # Errors
    /// Every [`CallError`]: `Asked` for a plugin of another kind, a parameter that there is not, or a value that is none of its type;
    /// `Failed` for what the plugin refuses.
    pub fn storage(&self, parameters: &BTreeMap<String, String>) -> Result<StoragePlugin, CallError> {
        let Claim::Storage(claim) = &self.manifest().claim else {
            return Err(self.asked(&format!("it is of kind {}, not a storage", self.manifest().claim.kind())));
        };
        let (claim, parameters) = (claim.clone(), parameters.clone());
        let (at_work, writing) = (Mutex::default(), Mutex::default());
        let storage = StoragePlugin { plugin: self.clone(), claim, parameters, at_work, writing };
        storage.at_work.lock().place = Some(storage.start()?);
        Ok(storage)
    }
}

impl StoragePlugin {
    /// The plugin.
    pub const fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// How the node's configuration names it.
    pub fn scheme(&self) -> &str {
        &self.claim.scheme
    }

    /// Keeps records, in one call.
    ///
    /// # Errors
    /// Every [`CallError`]; after a fault of a write the storage is lost.
    pub fn append(&self, records: &[Record]) -> Result<(), CallError> {
        let words = 16 + records.iter().map(|record| 4 + words_of(record.value.len())).sum::<usize>();
        let fill = |request: request::Builder<'_>| {
            let mut list = request.init_append(count(records.len()));
            for (index, record) in (0..).zip(records) {
                let mut to = list.reborrow().get(index);
                to.set_place(record.place);
                to.set_timestamp(record.timestamp);
                to.set_value(&record.value);
            }
        };
        self.call(Doing::Writes, words, fill, records.len(), done)
    }

    /// Makes what was appended and trimmed outlive the power.
    ///
    /// # Errors
    /// As [`StoragePlugin::append`].
    pub fn sync(&self) -> Result<(), CallError> {
        self.call(Doing::Writes, 8, |mut request| request.set_sync(()), 0, done)
    }

    /// Reads records in the order of their places, in one call, with no more than its bounds and those of a call let it.
    ///
    /// # Errors
    /// As [`StoragePlugin::append`]. A record that was not asked for, is out of order or over a bound, is a fault.
    pub fn query(&self, query: &Query) -> Result<Records, CallError> {
        let mut query = *query;
        if query.from >= query.until {
            return Ok(Records { next: query.until, ..Records::default() });
        }
        query.records_max = query.records_max.clamp(1, RECORDS_MAX);
        query.bytes_max = query.bytes_max.min(BYTES_MAX);
        let fill = |request: request::Builder<'_>| {
            let mut to = request.init_query();
            to.set_from(query.from);
            to.set_until(query.until);
            to.set_records_max(count(query.records_max));
            to.set_bytes_max(count(query.bytes_max));
            to.set_prefix_bytes(count(query.prefix_bytes));
        };
        self.call(Doing::Reads, 16, fill, 0, |reply| read_found(&query, reply))
    }

    /// Reads the records of these places, in one call. They must fit into a reply.
    ///
    /// # Errors
    /// As [`StoragePlugin::append`]. A record that was not asked for or is out of order is a fault.
    pub fn fetch(&self, places: &[u64]) -> Result<Records, CallError> {
        let fill = |request: request::Builder<'_>| {
            let mut list = request.init_fetch(count(places.len()));
            (0..).zip(places).for_each(|(index, place)| list.set(index, *place));
        };
        self.call(Doing::Reads, 16 + places.len(), fill, places.len(), |reply| read_fetched(places, reply))
    }

    /// Lets records go, in one call.
    ///
    /// # Errors
    /// As [`StoragePlugin::append`].
    pub fn trim(&self, places: &[u64]) -> Result<(), CallError> {
        let fill = |request: request::Builder<'_>| {
            let mut list = request.init_trim(count(places.len()));
            (0..).zip(places).for_each(|(index, place)| list.set(index, *place));
        };
        self.call(Doing::Writes, 16 + places.len(), fill, places.len(), done)
    }

    /// Does a write, of as many calls as it takes. IMPORTANT: no other write is asked for before it is over, so that what is asked
    /// again is the same and follows upon itself; reads are.
    fn write(
        &self,
        calls: impl FnOnce(&dyn Fn(Call<'_>) -> Result<(), CallError>) -> Result<(), CallError>,
    ) -> Result<(), RecordFault> {
        let mut failed = self.writing.lock();
        if let Some(fault) = &*failed {
            return Err(fault.clone());
        }
        let waiting = self.plugin.patience().begin();
        let done = calls(&|call: Call<'_>| waiting.ask(self.scheme(), || call(self))).map_err(fault);
        if let Err(fault) = &done {
            *failed = Some(fault.clone());
        }
        done
    }

    /// A new instance, started.
    fn start(&self) -> Result<OwnPlace, CallError> {
        let start = Start::new(&self.claim.scheme, &self.claim.parameters, &self.parameters);
        let start = start.map_err(|fault| self.plugin.asked(&fault))?.without_operator();
        let mut place = self.plugin.own_place()?;
        self.plugin.call_own(&mut place, start.words(), |request| start.write(request), 0, done)?;
        Ok(place)
    }

    /// Whether what it was given is not in the instance.
    fn keeps_outside(&self) -> bool {
        let granted = self.plugin.grants().of(self.plugin.manifest());
        granted.contains(&Capability::Blob) || granted.contains(&Capability::Http)
    }

    fn call<R>(
        &self,
        doing: Doing,
        words: usize,
        fill: impl Fn(request::Builder<'_>),
        items: usize,
        read: impl FnOnce(reply::WhichReader<'_>) -> Result<R, String>,
    ) -> Result<R, CallError> {
        let mut at_work = self.at_work.lock();
        let at_work = &mut *at_work;
        if at_work.is_lost {
            return Err(CallError::Lost { plugin: self.plugin.manifest().name.clone() });
        }
        let place = match &mut at_work.place {
            Some(place) => place,
            none => none.insert(self.start()?),
        };
        let result = self.plugin.call_own(place, words, fill, items, read);
        if !is_alive(&result) {
            at_work.place = None;
            at_work.is_lost = doing == Doing::Writes || !self.keeps_outside();
        }
        result
    }
}

/// What a node keeps its log in. A write or a place list that is longer than one call may be is sent in several. Writes are done one after the
/// other; one that is answered with `unavailable` is asked again, the same, for `storage_wait_ms_max` in all: as long it blocks, and
/// those behind it. After one that has failed there is none.
impl RecordStore for StoragePlugin {
    fn append(&self, records: &[Record]) -> Result<(), RecordFault> {
        self.write(|ask| {
            let mut rest = records;
            while !rest.is_empty() {
                let mut bytes = 0;
                let fit = rest.iter().take(RECORDS_MAX).take_while(|record| {
                    bytes += record.value.len();
                    bytes <= BYTES_MAX
                });
                // One goes alone, however long it is.
                let (now, later) = rest.split_at(fit.count().max(1));
                ask(&|storage| storage.append(now))?;
                rest = later;
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), RecordFault> {
        self.write(|ask| ask(&Self::sync))
    }

    fn query(&self, query: &Query) -> Result<Records, RecordFault> {
        Self::query(self, query).map_err(fault)
    }

    fn fetch(&self, places: &[u64]) -> Result<Records, RecordFault> {
        let mut found = Records::default();
        for places in places.chunks(FETCHED_MAX) {
            let more = Self::fetch(self, places).map_err(fault)?;
            found.records.extend(more.records);
            found.damaged.extend(more.damaged);
        }
        Ok(found)
    }

    fn trim(&self, places: &[u64]) -> Result<(), RecordFault> {
        self.write(|ask| {
            places.chunks(RECORDS_MAX).try_for_each(|places| ask(&|storage| storage.trim(places)))
        })
    }
}

impl fmt::Debug for StoragePlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoragePlugin({} by {:?})", self.claim.scheme, self.plugin)
    }
}

fn fault(error: CallError) -> RecordFault {
    RecordFault(error.to_string())
}

/// The reply to `start`, `append`, `sync` and `trim`.
pub(crate) fn done(reply: reply::WhichReader<'_>) -> Result<(), String> {
    let reply::Done(()) = reply else { return Err("it is not done".into()) };
    Ok(())
}

/// The reply to `query`.
pub(crate) fn read_found(query: &Query, reply: reply::WhichReader<'_>) -> Result<Records, String> {
    let found = records(reply)?;
    check_found(query, &found).map(|()| found)
}

/// The reply to `fetch` with these places.
pub(crate) fn read_fetched(places: &[u64], reply: reply::WhichReader<'_>) -> Result<Records, String> {
    let found = records(reply)?;
    check_fetched(places, &found).map(|()| found)
}

fn records(reply: reply::WhichReader<'_>) -> Result<Records, String> {
    let reply::Records(found) = reply else { return Err("it has no records".into()) };
    let broken = |error| format!("its records cannot be read: {error}");
    let found = found.map_err(broken)?;
    let record = |record: mainstem_plugin_abi::plugin_capnp::record::Reader<'_>| {
        let value = Bytes::copy_from_slice(record.get_value().map_err(broken)?);
        Ok(Record { place: record.get_place(), timestamp: record.get_timestamp(), value })
    };
    let records = found.get_records().map_err(broken)?.iter().map(record).collect::<Result<_, String>>()?;
    let damaged = found.get_damaged().map_err(broken)?.iter().collect();
    Ok(Records { records, next: found.get_next(), damaged })
}

fn check_found(query: &Query, found: &Records) -> Result<(), String> {
    let Query { from, until, records_max, bytes_max, prefix_bytes } = *query;
    let Records { records, next, damaged } = found;
    let count = records.len() + damaged.len();
    if count > records_max {
        return Err(format!("it has {count} records and damaged places: {records_max} are the most"));
    }
    let lengths = records.iter().map(|record| record.value.len());
    if let Some(longer) = lengths.clone().find(|length| prefix_bytes > 0 && *length > prefix_bytes) {
        return Err(format!("{longer} bytes of a value: the first {prefix_bytes} were asked for"));
    }
    let bytes = lengths.sum::<usize>();
    if records.len() > 1 && bytes > bytes_max {
        return Err(format!(
            "it has {bytes} bytes of values: {bytes_max} are the most, unless one record is longer"
        ));
    }
    let end = if from < until { from + 1..=until } else { until..=until };
    if !end.contains(next) {
        return Err(format!("it goes on at place {next}, which is not in {} to {}", end.start(), end.end()));
    }
    let within = from..*next;
    check_rising("a record", records.iter().map(|record| record.place), &within)?;
    check_rising("a damaged place", damaged.iter().copied(), &within)?;
    match records.iter().find(|record| damaged.binary_search(&record.place).is_ok()) {
        Some(both) => Err(format!("place {} is both a record and damaged", both.place)),
        None => Ok(()),
    }
}

fn check_rising(what: &str, places: impl Iterator<Item = u64>, within: &Range<u64>) -> Result<(), String> {
    let mut least = within.start;
    for place in places {
        if place < least || place >= within.end {
            return Err(format!("{what} has place {place}, which is not in {least} to {}", within.end));
        }
        least = place + 1;
    }
    Ok(())
}

fn check_fetched(asked: &[u64], found: &Records) -> Result<(), String> {
    check_among("a record", asked, found.records.iter().map(|record| record.place))?;
    check_among("a damaged place", asked, found.damaged.iter().copied())?;
    match found.records.iter().find(|record| found.damaged.contains(&record.place)) {
        Some(both) => Err(format!("place {} is both a record and damaged", both.place)),
        None => Ok(()),
    }
}

/// Whether places are among those that were asked for, in their order.
fn check_among(what: &str, asked: &[u64], given: impl Iterator<Item = u64>) -> Result<(), String> {
    let mut asked = asked.iter();
    for place in given {
        if !asked.any(|asked| *asked == place) {
            return Err(format!("{what} has place {place}, which was not asked for there"));
        }
    }
    Ok(())
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(records: &[(u64, usize)], next: u64, damaged: &[u64]) -> Records {
        let record = |(place, length): &(u64, usize)| Record {
            place: *place,
            timestamp: 0,
            value: vec![0; *length].into(),
        };
        Records { records: records.iter().map(record).collect(), next, damaged: damaged.to_vec() }
    }

    #[test]
    fn an_answer_to_a_query_is_in_order_within_its_bounds_and_goes_on() {
        let query = Query { from: 10, until: 20, records_max: 3, bytes_max: 100, prefix_bytes: 0 };
        let check = |found: Records| check_found(&query, &found);
        for right in [
            found(&[], 20, &[]),
            found(&[(10, 50), (19, 50)], 20, &[]),
            found(&[(12, 500)], 13, &[]),
            found(&[(12, 5)], 20, &[11, 13]),
            found(&[], 13, &[12]),
            found(&[], 15, &[]),
        ] {
            assert_eq!(check(right.clone()), Ok(()), "{right:?}");
        }
        for (wrong, why) in [
            (found(&[], 10, &[]), "goes on at place 10"),
            (found(&[(10, 0)], 10, &[]), "goes on at place 10"),
            (found(&[(10, 0)], 21, &[]), "goes on at place 21"),
            (found(&[(10, 0), (10, 0)], 20, &[]), "a record has place 10"),
            (found(&[(12, 0), (11, 0)], 20, &[]), "a record has place 11"),
            (found(&[(9, 0)], 20, &[]), "a record has place 9"),
            (found(&[(15, 0)], 15, &[]), "a record has place 15"),
            (found(&[], 20, &[14, 13]), "a damaged place has place 13"),
            (found(&[(13, 0)], 20, &[13]), "both"),
            (found(&[(10, 0), (11, 0), (12, 0), (13, 0)], 20, &[]), "3 are the most"),
            (found(&[(10, 60), (11, 60)], 20, &[]), "120 bytes"),
        ] {
            let fault = check(wrong).unwrap_err();
            assert!(fault.contains(why), "{fault}");
        }
        let query = Query { prefix_bytes: 4, ..query };
        assert!(check_found(&query, &found(&[(10, 5)], 20, &[])).is_err());
    }

    #[test]
    fn what_is_fetched_was_asked_for_and_comes_in_that_order() {
        let check = |found: Records| check_fetched(&[7, 3, 9], &found);
        for right in [found(&[], 0, &[]), found(&[(7, 0), (9, 0)], 0, &[3]), found(&[(3, 1)], 5, &[])] {
            assert_eq!(check(right.clone()), Ok(()), "{right:?}");
        }
        for wrong in [
            found(&[(3, 0), (7, 0)], 0, &[]),
            found(&[(7, 0), (7, 0)], 0, &[]),
            found(&[], 0, &[4]),
            found(&[(7, 0)], 0, &[7]),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
