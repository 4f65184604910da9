//! What the targets `plugin_reply`, `plugin_request` and `plugin_manifest` of `fuzz/` try: bytes of guests, by the ways on which a
//! node reads them, and what must hold of everything that is read.
#![allow(clippy::missing_panics_doc, reason = "a property that does not hold is to panic")]

use crate::{
    Column, Emitted, Values,
    ambient::SystemAmbient,
    capability::{Answer, Meter, Privileges, answer},
    inspect,
    instance::{Outcome, read_reply},
    operator::{done, emitted, read_state},
    section::check_tables,
    signature::{read_origin, read_signatures, read_verdicts},
};
use mainstem_plugin_abi::{
    Capability, ColumnClaim, ColumnType, Manifest, ManifestError, OperatorClaim, Place, Port, SignatureClaim,
    limits::TEXT_BYTES_MAX, plugin_capnp::reply,
};
use std::{
    mem::size_of,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

/// Bytes of a reply here.
const REPLY_BYTES_MAX: u32 = 64 << 10;

/// An operator with an output of whole events, and one with a column of each type.
static OPERATOR: LazyLock<OperatorClaim> = LazyLock::new(|| {
    let column = |column_type: ColumnType| ColumnClaim { name: column_type.name().into(), column_type };
    OperatorClaim {
        name: "fuzzed".into(),
        description: String::new(),
        inputs: Vec::new(),
        outputs: vec![
            Port { name: "events".into(), columns: Vec::new() },
            Port { name: "columns".into(), columns: ColumnType::ALL.map(column).to_vec() },
        ],
        parameters: Vec::new(),
    }
});

/// The reply to a call: the first byte says to which, the second how many items were sent, the third and fourth by how much the
/// reply's place differs from the rest, which is the guest's memory.
pub fn reply(data: &[u8]) {
    let Some((&[call, count, ptr, len], memory)) = data.split_first_chunk() else { return };
    let whole = u32::try_from(memory.len()).unwrap_or(u32::MAX);
    let place = Place {
        ptr: ptr.into(),
        len: whole.wrapping_sub(ptr.into()).wrapping_add_signed(i32::from(len as i8)),
    };
    let (count, claim) = (usize::from(count), &*OPERATOR);
    match call % 6 {
        0 => read(
            memory,
            place,
            |reply| read_verdicts(count, reply),
            |verdicts| assert_eq!(verdicts.len(), count),
        ),
        1 => read(
            memory,
            place,
            |reply| read_signatures(count, reply),
            |signatures| {
                assert_eq!(signatures.len(), count);
                held(memory, signatures.iter().map(|one| size_of::<Vec<u8>>() + one.len()).sum());
            },
        ),
        2 => {
            let claim = SignatureClaim { signature_type: 200, origin_types: vec![200, 1], signs: true };
            read(
                memory,
                place,
                |reply| read_origin(&claim, reply),
                |origin| {
                    assert!(claim.origin_types.contains(&origin.kind()));
                },
            );
        }
        3 => read(memory, place, |reply| done(claim, reply), |()| ()),
        4 => read(memory, place, |reply| read_state(claim, reply), |state| held(memory, state.len())),
        _ => read(
            memory,
            place,
            |reply| emitted(claim, reply),
            |batches| {
                for batch in &batches {
                    let port = claim.outputs.get(usize::from(batch.port)).expect("an output that there is");
                    assert_eq!(batch.rows.misfit(port), None);
                }
                held(memory, batches.iter().map(bytes_of).sum());
            },
        ),
    }
}

fn read<R>(
    memory: &[u8],
    place: Place,
    by: impl FnOnce(reply::WhichReader<'_>) -> Result<R, String>,
    check: impl FnOnce(R),
) {
    match read_reply(memory, place, REPLY_BYTES_MAX, by) {
        Ok(Outcome::Done(result)) => {
            assert!(place.ptr.is_multiple_of(8) && place.len <= REPLY_BYTES_MAX);
            check(result);
        }
        Ok(Outcome::Failed(_, sentence)) => told(&sentence),
        Err(fault) => assert!(!fault.is_empty()),
    }
}

/// What is read of a message takes no more than a small multiple of its length, however its pointers lie.
fn held(memory: &[u8], bytes: usize) {
    let most = (memory.len() / 4 + 512) * 64;
    assert!(bytes <= most, "{bytes} bytes out of {}", memory.len());
}

fn bytes_of(batch: &Emitted) -> usize {
    let values = match &batch.rows.values {
        Values::Columns(columns) => columns
            .iter()
            .map(|column| match column {
                Column::Int64(values) => 8 * values.len(),
                Column::Float64(values) => 8 * values.len(),
                Column::Text(values) => values.iter().map(|text| size_of::<String>() + text.len()).sum(),
                Column::Data(values) => {
                    values.iter().map(|data| size_of::<Vec<u8>>() + data.len()).sum::<usize>()
                }
            })
            .sum::<usize>(),
        Values::Events(events) => events.iter().map(|event| size_of_val(event) + event.content.len()).sum(),
    };
    size_of_val(batch) + 8 * batch.rows.timestamps.len() + values
}

/// A text for people is one short line.
fn told(sentence: &str) {
    assert!(sentence.len() <= TEXT_BYTES_MAX && !sentence.chars().any(char::is_control), "{sentence:?}");
}

/// A host request: the first byte says which capabilities are granted.
pub fn request(data: &[u8]) {
    let Some((granted, segment)) = data.split_first() else { return };
    let granted = Capability::ALL.into_iter().enumerate().filter(|(bit, _)| granted >> bit & 1 == 1);
    let granted = granted.map(|(_, capability)| capability).collect::<Vec<_>>();
    let config = crate::Config { log_lines_per_minute_max: 0, ..crate::Config::default() };
    let privileges =
        Privileges::new("fuzzed".into(), granted.iter().copied().collect(), Arc::new(SystemAmbient), &config);
    let mut meter = Meter::new(10_000_000, Instant::now() + Duration::from_secs(1));
    let Ok(answer) = answer(&privileges, segment, &mut meter) else { return };
    let needs = match &answer {
        Answer::Digests(_) | Answer::Checks(_) => Some(Capability::Crypto),
        Answer::Now(_) => Some(Capability::Clock),
        Answer::Random(_) => Some(Capability::Random),
        Answer::Done | Answer::Failed(..) => None,
    };
    assert!(needs.is_none_or(|needs| granted.contains(&needs)), "{answer:?} without a grant");
    assert!(answer.encode().len() <= 8 * (segment.len() + 4_096) * 4);
}

/// A manifest, and a whole module: what is read of either is told again as the same one.
pub fn manifest(data: &[u8]) {
    again(Manifest::decode(data));
    if let Ok((_, manifest)) = inspect(data) {
        again(Ok(manifest));
        // Of a module that was compiled it cannot fail otherwise; this one was not.
        drop(check_tables(data, 10_000));
    }
}

fn again(manifest: Result<Manifest, ManifestError>) {
    match manifest {
        Ok(manifest) => {
            // One that was packed more tightly than this program does it may be over the bound when it is written.
            match manifest.encode() {
                Ok(bytes) => assert_eq!(Manifest::decode(&bytes), Ok(manifest)),
                Err(error) => assert!(matches!(error, ManifestError::TooLarge(_)), "{error}"),
            }
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let mut count = 0;
        for file in fs::read_dir(&folder).unwrap() {
            run(&fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 10, "{} has {count} files", folder.display());
    }

    #[test]
    fn what_the_fuzzer_found_of_replies_is_read_or_refused() {
        replay("plugin_reply", super::reply);
    }

    #[test]
    fn what_the_fuzzer_found_of_host_requests_is_answered() {
        replay("plugin_request", super::request);
    }

    #[test]
    fn what_the_fuzzer_found_of_manifests_is_read_or_refused() {
        replay("plugin_manifest", super::manifest);
    }
}
