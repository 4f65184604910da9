use super::{Finding, Noise, finding, samples};
use crate::{CallError, Plugin, StoragePlugin, storage::BYTES_MAX};
use mainstem_model::{Query, Record, Records, limits::BATCH_BYTES_MAX};
use mainstem_plugin_abi::{
    Capability, StorageClaim,
    plugin_capnp::{FailureCode, request},
};

/// Lengths of values that are appended in one call.
const LENGTHS: [usize; 10] = [0, 1, 7, 8, 9, 300, 4_000, 65_536, 200_000, 3];
/// The longest value that a node keeps: both batches of a proof, and what stands before them.
const LONGEST: usize = 2 * BATCH_BYTES_MAX + 512;
/// Places begin here, and leave out some, as those of a node do.
const FIRST: u64 = 1 << 33;

pub(super) fn findings(plugin: &Plugin, claim: &StorageClaim) -> Vec<Finding> {
    let parameters = samples(&claim.parameters);
    let start = || plugin.storage(&parameters).map_err(text);
    let mut findings = vec![finding("what comes before start is answered with failed", too_early(plugin))];
    let storage = match start() {
        Ok(storage) => storage,
        Err(fault) => return [findings, vec![finding("it starts", Err(fault))]].concat(),
    };
    findings.push(finding("it starts", Ok(())));
    let check = |what: &str, outcome: Result<(), String>| finding(what, outcome);
    findings.push(check("it begins with nothing, if its folder is new", same(&storage, &[])));
    findings.push(check("an empty list is appended, fetched and trimmed", empty_lists(&storage)));

    let mut kept = records();
    let appended = kept.chunks(4).try_for_each(|some| storage.append(some)).map_err(text);
    findings.push(check("values of many lengths are kept", appended.and_then(|()| same(&storage, &kept))));
    findings.push(check("a query keeps to its bounds", bounded(&storage, &kept)));
    findings.push(check(
        "a query gives as many bytes of each value as were asked for",
        prefixes(&storage, &kept),
    ));
    findings.push(check(
        "records are fetched in the order in which they were asked for",
        fetched(&storage, &kept),
    ));
    findings.push(check("what was kept is synced", storage.sync().map_err(text)));

    let gone: Vec<_> = kept.iter().step_by(3).map(|record| record.place).collect();
    kept.retain(|record| !gone.contains(&record.place));
    let trimmed = storage.trim(&gone).map_err(text).and_then(|()| same(&storage, &kept));
    findings.push(check("what was trimmed is given no more, and all else is", trimmed));
    let again = storage.trim(&[&gone[..], &[1, FIRST - 1, u64::MAX - 1]].concat()).map_err(text);
    findings.push(check("what is not there is trimmed too", again.and_then(|()| same(&storage, &kept))));
    let longest = Record { place: FIRST << 1, timestamp: i64::MIN, value: noise(LONGEST) };
    let appended = storage.append(std::slice::from_ref(&longest)).map_err(text);
    kept.push(longest);
    findings
        .push(finding(format!("{LONGEST} bytes are kept"), appended.and_then(|()| same(&storage, &kept))));
    if plugin.manifest().capabilities.iter().any(|of| matches!(of, Capability::Blob | Capability::Http)) {
        let synced = storage.sync().map_err(text);
        drop(storage);
        let again = synced.and_then(|()| same(&start()?, &kept));
        findings.push(check("what was synced is there when it is started again", again));
    }
    findings
}

fn too_early(plugin: &Plugin) -> Result<(), String> {
    let mut place = plugin.own_place().map_err(text)?;
    let fill = |mut request: request::Builder<'_>| request.set_sync(());
    match plugin.call_own(&mut place, 8, fill, 0, |_| Ok(())) {
        Err(CallError::Failed { code: FailureCode::Invalid, .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("it answered as if it were started".into()),
    }
}

fn empty_lists(storage: &StoragePlugin) -> Result<(), String> {
    storage.append(&[]).map_err(text)?;
    storage.trim(&[]).map_err(text)?;
    let found = storage.fetch(&[]).map_err(text)?;
    if found.records.is_empty() { Ok(()) } else { Err("it has records of no places".into()) }
}

fn records() -> Vec<Record> {
    let places = (FIRST..).step_by(1).zip(LENGTHS.iter().cycle()).take(3 * LENGTHS.len());
    places
        .map(|(place, length)| Record {
            // One place is left out behind each tenth.
            place: place + (place - FIRST) / 10,
            timestamp: 1_700_000_000_000 + place as i64 % 7,
            value: noise(*length),
        })
        .collect()
}

fn noise(length: usize) -> bytes::Bytes {
    Noise(length as u64 * 2 + 1).bytes(length).into()
}

/// Whether it keeps these records and no others.
fn same(storage: &StoragePlugin, kept: &[Record]) -> Result<(), String> {
    let found = all(
        storage,
        &Query { from: 0, until: u64::MAX, records_max: 8, bytes_max: BYTES_MAX, prefix_bytes: 0 },
    )?;
    differs(&found, kept)
}

/// All answers to a query, one after the other.
fn all(storage: &StoragePlugin, query: &Query) -> Result<Vec<Record>, String> {
    let (mut query, mut found) = (*query, Vec::new());
    while query.from < query.until {
        let Records { records, next, damaged } = storage.query(&query).map_err(text)?;
        if let Some(place) = damaged.first() {
            return Err(format!("place {place} is damaged"));
        }
        found.extend(records);
        query.from = next;
    }
    Ok(found)
}

fn bounded(storage: &StoragePlugin, kept: &[Record]) -> Result<(), String> {
    let query = Query { from: 0, until: u64::MAX, records_max: 1, bytes_max: BYTES_MAX, prefix_bytes: 0 };
    // That no answer has more is looked at with every answer.
    differs(&all(storage, &query)?, kept)?;
    differs(&all(storage, &Query { records_max: 100, bytes_max: 10, ..query })?, kept)?;
    let (from, until) = (kept[5].place, kept[20].place);
    differs(&all(storage, &Query { from, until, records_max: 7, ..query })?, &kept[5..20])?;
    let none = Query { from: kept[9].place + 1, until: kept[10].place, ..query };
    differs(&all(storage, &none)?, &[])
}

fn prefixes(storage: &StoragePlugin, kept: &[Record]) -> Result<(), String> {
    for prefix_bytes in [1, 8, 300] {
        let query =
            Query { from: 0, until: u64::MAX, records_max: 1_000, bytes_max: BYTES_MAX, prefix_bytes };
        let short = |record: &Record| Record {
            value: record.value.slice(..record.value.len().min(prefix_bytes)),
            ..record.clone()
        };
        differs(&all(storage, &query)?, &kept.iter().map(short).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn fetched(storage: &StoragePlugin, kept: &[Record]) -> Result<(), String> {
    let backwards: Vec<_> = kept.iter().rev().cloned().collect();
    let places: Vec<_> =
        backwards.iter().flat_map(|record| [record.place, record.place - (1 << 20)]).collect();
    let found = places.chunks(8).map(|places| storage.fetch(places)).collect::<Result<Vec<_>, _>>();
    let found: Vec<_> = found.map_err(text)?.into_iter().flat_map(|found| found.records).collect();
    differs(&found, &backwards)
}

fn differs(found: &[Record], expected: &[Record]) -> Result<(), String> {
    let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    match (found.get(same), expected.get(same)) {
        (None, None) => Ok(()),
        (Some(other), Some(record)) if other.place == record.place => {
            Err(format!("the record at place {} is another one", record.place))
        }
        (found, Some(record)) => {
            let instead = found.map_or("nothing".into(), |found| format!("place {}", found.place));
            Err(format!("{instead} where place {} should be", record.place))
        }
        (Some(found), None) => Err(format!("a record at place {} that should not be there", found.place)),
    }
}

fn text(error: CallError) -> String {
    error.to_string()
}
