use crate::{
    Column, Emitted, Values, encryption,
    instance::{Outcome, read_reply, within},
    operator::{done, emitted, quick_emitted, read_state},
    signature::{quick_verdicts, read_origin, read_signatures, read_verdicts},
    storage,
};
use mainstem_model::{Opened, Plain, Query, Record, Records, limits};
use mainstem_plugin_abi::{
    ColumnClaim, ColumnType, OperatorClaim, Place, Port, SignatureClaim, layout::Words,
    limits::TEXT_BYTES_MAX, plugin_capnp::reply,
};
use std::{fmt::Debug, mem::size_of, sync::LazyLock};

/// Bytes of a reply here.
const REPLY_BYTES_MAX: u32 = 64 << 10;

/// Bytes of a content key here.
const KEY_BYTES: usize = 32;

/// What was sealed: items of 0 to 254 bytes.
static CONTENT: [u8; 255] = [7; 255];

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

/// What a guest gave back: its memory, and where in it it says that the reply lies.
#[derive(Clone, Copy)]
struct Given<'a> {
    memory: &'a [u8],
    place: Place,
}

/// The reply to a call: the first byte says to which, the second how many items were sent, the third and fourth by how much the
/// reply's place differs from the rest, which is the guest's memory.
pub fn reply(data: &[u8]) {
    let Some((&[call, count, ptr, len], memory)) = data.split_first_chunk() else { return };
    let whole = u32::try_from(memory.len()).unwrap_or(u32::MAX);
    let place = Place {
        ptr: ptr.into(),
        len: whole.wrapping_sub(ptr.into()).wrapping_add_signed(i32::from(len.cast_signed())),
    };
    let given = Given { memory, place };
    match call % 13 {
        0 => verdicts(given, count.into()),
        1 => signatures(given, count.into()),
        2 => origin(given),
        3 => given.read(|reply| done(&OPERATOR, reply), |()| ()),
        4 => given.read(|reply| read_state(&OPERATOR, reply), |state| given.held(state.len())),
        5 => emissions(given),
        6 => sealed(given, count.into()),
        7 => opened(given, count.into()),
        8 => wrapped(given, count.into()),
        9 => given.read(
            |reply| encryption::read_unwrapped(KEY_BYTES, reply),
            |key| assert_eq!(key.len(), KEY_BYTES),
        ),
        10 => given.read(storage::done, |()| ()),
        11 => found(given, count),
        _ => fetched(given, count),
    }
}

fn verdicts(given: Given<'_>, count: usize) {
    given.alike(|words| quick_verdicts(count, words), |reply| read_verdicts(count, reply));
    given.read(|reply| read_verdicts(count, reply), |verdicts| assert_eq!(verdicts.len(), count));
}

fn signatures(given: Given<'_>, count: usize) {
    given.read(
        |reply| read_signatures(count, reply),
        |signatures| {
            assert_eq!(signatures.len(), count);
            given.held(signatures.iter().map(data_bytes).sum());
        },
    );
}

fn origin(given: Given<'_>) {
    let claim = SignatureClaim { signature_type: 200, origin_types: vec![200, 1], signs: true };
    given.read(
        |reply| read_origin(&claim, reply),
        |origin| assert!(claim.origin_types.contains(&origin.kind())),
    );
}

fn emissions(given: Given<'_>) {
    given.alike(|words| quick_emitted(&OPERATOR, words), |reply| emitted(&OPERATOR, reply));
    given.read(
        |reply| emitted(&OPERATOR, reply),
        |batches| {
            for batch in &batches {
                let port = OPERATOR.outputs.get(usize::from(batch.port)).expect("an output that there is");
                assert_eq!(batch.rows.misfit(port), None);
            }
            given.held(batches.iter().map(emitted_bytes).sum());
        },
    );
}

fn sealed(given: Given<'_>, count: usize) {
    let plain = |index| Plain { nonce: [0; 32], associated: &[], content: &CONTENT[..index] };
    let items: Vec<Plain<'_>> = (0..count).map(plain).collect();
    given.read(
        |reply| encryption::read_sealed(&items, reply),
        |sealed| {
            assert_eq!(sealed.len(), count);
            let fits = |(sealed, item): (&Vec<u8>, &Plain<'_>)| {
                sealed.len() <= item.content.len() + limits::SEAL_BYTES_MAX
            };
            assert!(sealed.iter().zip(&items).all(fits));
            given.held(sealed.iter().map(data_bytes).sum());
        },
    );
}

fn opened(given: Given<'_>, count: usize) {
    given.read(
        |reply| encryption::read_opened(count, reply),
        |opened| {
            assert_eq!(opened.len(), count);
            let bytes = |one: &Opened| size_of::<Opened>() + one.as_ref().map_or(0, Vec::len);
            given.held(opened.iter().map(bytes).sum());
        },
    );
}

fn wrapped(given: Given<'_>, count: usize) {
    given.read(
        |reply| encryption::read_wrapped(count, reply),
        |wrapped| {
            assert_eq!(wrapped.len(), count);
            assert!(wrapped.iter().all(|key| key.len() <= limits::WRAPPED_KEY_BYTES_MAX));
            given.held(wrapped.iter().map(data_bytes).sum());
        },
    );
}

fn found(given: Given<'_>, bounds: u8) {
    let query = Query {
        from: 16,
        until: 16 + u64::from(bounds),
        records_max: 1 + usize::from(bounds) / 4,
        bytes_max: 256,
        prefix_bytes: if bounds.is_multiple_of(2) { 0 } else { 8 },
    };
    given.read(
        |reply| storage::read_found(&query, reply),
        |found| {
            let places = places_of(&found);
            assert!(found.next <= query.until && places.len() <= query.records_max);
            assert!(places.iter().all(|place| (query.from..found.next).contains(place)));
            // Who asks until there is no more comes to an end.
            assert!(found.next > query.from || query.from == query.until);
            given.held(records_bytes(&found));
        },
    );
}

fn fetched(given: Given<'_>, count: u8) {
    let asked: Vec<u64> = (0..count).map(|index| u64::from(index) * 3).collect();
    given.read(
        |reply| storage::read_fetched(&asked, reply),
        |found| {
            let places = places_of(&found);
            assert!(places.iter().all(|place| asked.contains(place)));
            given.held(records_bytes(&found));
        },
    );
}

/// The places of what was found, each once.
fn places_of(found: &Records) -> Vec<u64> {
    let records = found.records.iter().map(|record| record.place);
    let mut places: Vec<u64> = records.chain(found.damaged.iter().copied()).collect();
    places.sort_unstable();
    assert!(places.windows(2).all(|two| two[0] < two[1]), "a place twice in {places:?}");
    places
}

impl Given<'_> {
    fn read<R>(self, by: impl FnOnce(reply::WhichReader<'_>) -> Result<R, String>, check: impl FnOnce(R)) {
        let place = self.place;
        match read_reply(self.memory, place, REPLY_BYTES_MAX, by) {
            Ok(Outcome::Done(result)) => {
                assert!(place.ptr.is_multiple_of(8) && place.len <= REPLY_BYTES_MAX);
                check(result);
            }
            Ok(Outcome::Failed(_, sentence)) => told(&sentence),
            Err(fault) => assert!(!fault.is_empty()),
        }
    }

    /// What is read of a reply by its layout alone, if anything, is what is read by all means.
    fn alike<R: PartialEq + Debug>(
        self,
        quick: impl FnOnce(Words<'_>) -> Option<R>,
        by: impl FnOnce(reply::WhichReader<'_>) -> Result<R, String>,
    ) {
        let place = self.place;
        if !place.ptr.is_multiple_of(8) || place.len > REPLY_BYTES_MAX {
            return;
        }
        let Some(found) = within(self.memory, place).and_then(Words::of).and_then(quick) else { return };
        match read_reply(self.memory, place, REPLY_BYTES_MAX, by) {
            Ok(Outcome::Done(right)) => assert_eq!(found, right),
            Ok(Outcome::Failed(..)) => panic!("{found:?} of what failed"),
            Err(fault) => panic!("{found:?} of what is refused: {fault}"),
        }
    }

    /// What is read of a message takes no more than a small multiple of its length, however its pointers lie.
    fn held(self, bytes: usize) {
        let most = (self.memory.len() / 4 + 512) * 64;
        assert!(bytes <= most, "{bytes} bytes out of {}", self.memory.len());
    }
}

/// A text for people is one short line.
fn told(sentence: &str) {
    assert!(sentence.len() <= TEXT_BYTES_MAX && !sentence.chars().any(char::is_control), "{sentence:?}");
}

fn data_bytes(data: &(impl AsRef<[u8]> + ?Sized)) -> usize {
    size_of::<Vec<u8>>() + data.as_ref().len()
}

fn records_bytes(found: &Records) -> usize {
    let record = |record: &Record| size_of::<Record>() + record.value.len();
    found.records.iter().map(record).sum::<usize>() + 8 * found.damaged.len()
}

fn emitted_bytes(batch: &Emitted) -> usize {
    let values = match &batch.rows.values {
        Values::Columns(columns) => columns
            .iter()
            .map(|column| match column {
                Column::Int64(values) => 8 * values.len(),
                Column::Float64(values) => 8 * values.len(),
                Column::Text(values) => values.iter().map(|text| size_of::<String>() + text.len()).sum(),
                Column::Data(values) => values.iter().map(data_bytes).sum::<usize>(),
            })
            .sum::<usize>(),
        Values::Events(events) => events.iter().map(|event| size_of_val(event) + event.content.len()).sum(),
    };
    size_of_val(batch) + 8 * batch.rows.timestamps.len() + values
}
