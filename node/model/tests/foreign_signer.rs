//! A batch that a foreign program signed (`examples/foreign-signer`, viem) holds; with any one bit changed it is refused
//! with the code of what was changed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_crypto::SecretKey;
use mainstem_model::*;
use serde_json::Value;
use std::fs;

struct Signed {
    header: Vec<u8>,
    signature: Vec<u8>,
    events: Vec<NewEvent>,
}

fn file(name: &str) -> Value {
    let path = format!("{}/../../examples/foreign-signer/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().strip_prefix("0x").unwrap()).unwrap()
}

fn events(document: &Value) -> Vec<NewEvent> {
    let event = |value: &Value| NewEvent {
        timestamp: value["timestamp"].as_i64().unwrap(),
        content_type: ContentType(value["contentType"].as_u64().unwrap() as u16),
        encryption_type: EncryptionType(value["encryptionType"].as_u64().unwrap() as u16),
        content: unhex(&value["content"]).into(),
    };
    document["events"].as_array().unwrap().iter().map(event).collect()
}

fn recorded() -> Signed {
    let batch = file("batch.json");
    Signed { header: unhex(&batch["header"]), signature: unhex(&batch["signature"]), events: events(&batch) }
}

fn network() -> Network {
    Network { chain_id: 31337, registry: Address([0xc0; 20]) }
}

/// As the HTTP endpoint takes it: parts to a batch, the batch's bytes, proof.
fn take(signed: &Signed) -> Result<VerifiedBatch, Code> {
    let header = Header::decode(&signed.header).map_err(|error| error.code())?;
    let batch =
        Batch::assemble(&header, &signed.signature, &[], &signed.events).map_err(|error| error.code())?;
    let batch = Batch::decode(batch.bytes().clone()).map_err(|error| error.code())?;
    Verifier::new(network()).verify(batch).map_err(|error| error.code())
}

#[test]
fn what_a_foreign_program_signed_holds_and_is_what_we_would_have_signed() {
    let request = file("request.json");
    let key = SecretKey::from_hex(request["secretKey"].as_str().unwrap()).unwrap();
    let stream: StreamId = request["stream"].as_str().unwrap().parse().unwrap();
    let partition = Partition::try_from(request["partition"].as_u64().unwrap() as u16).unwrap();
    let series = SeriesId(request["series"].as_str().unwrap().parse().unwrap());
    let signer = Signer::wallet(key);
    let mut own = SeriesWriter::new(network(), stream.partition(partition), signer, series);
    let own = own.seal(&events(&request)).unwrap();
    let foreign = take(&recorded()).unwrap();
    assert_eq!(*foreign, own);
}

/// What a header with bit `bit` of byte `at` changed is refused for. `value` is the byte as it is then.
fn code_of(at: usize, value: u8) -> Code {
    match at {
        16..48 => Code::WrongNetwork,
        // Partition 3: what is still below 100 is another, unsigned partition.
        68 => Code::InvalidPartition,
        69 if value >= 100 => Code::InvalidPartition,
        // Origin type 1; none is type 0.
        70 if value != 0 => Code::UnknownOriginType,
        48..70 | 72..92 | 104..112 => Code::InvalidSignature,
        // Three events; more than 1024 are never right.
        120 if value >= 4 => Code::InvalidEventCount,
        // Domain, origin type and length, padding, sequence, count, previous.
        0..16 | 70..72 | 92..104 | 112..154 => Code::MalformedBatch,
        154..186 => Code::MerkleRootMismatch,
        186..202 => Code::InvalidTimestamp,
        202 => Code::UnknownSignatureType,
        _ => panic!("byte {at} is behind the header"),
    }
}

#[test]
fn any_one_bit_of_its_header_changed_is_refused_with_the_code_of_that_field() {
    for bit in 0..Header::LENGTH * 8 {
        let mut signed = recorded();
        let at = bit / 8;
        signed.header[at] ^= 1 << (bit % 8);
        let expected = code_of(at, signed.header[at]);
        assert_eq!(take(&signed).map(|batch| batch.id()), Err(expected), "byte {at}, bit {}", bit % 8);
    }
}

#[test]
fn any_one_bit_of_its_signature_changed_is_refused_as_such() {
    for bit in 0..65 * 8 {
        let mut signed = recorded();
        signed.signature[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(take(&signed).map(|batch| batch.id()), Err(Code::InvalidSignature), "bit {bit}");
    }
}

#[test]
fn any_one_bit_of_its_events_changed_is_refused_by_root_or_time() {
    let range = |events: &[NewEvent]| {
        let times = events.iter().map(|event| event.timestamp);
        (times.clone().min(), times.max())
    };
    let good = recorded();
    for index in 0..good.events.len() {
        let refused = |change: &dyn Fn(&mut NewEvent)| {
            let mut signed = recorded();
            change(&mut signed.events[index]);
            let same_range = range(&signed.events) == range(&good.events);
            let expected = if same_range { Code::MerkleRootMismatch } else { Code::InvalidTimestamp };
            assert_eq!(take(&signed).map(|batch| batch.id()), Err(expected), "event {index}");
        };
        for bit in 0..64 {
            refused(&|event| event.timestamp ^= 1 << bit);
        }
        for bit in 0..16 {
            refused(&|event| event.content_type.0 ^= 1 << bit);
            refused(&|event| event.encryption_type.0 ^= 1 << bit);
        }
        for bit in 0..good.events[index].content.len() * 8 {
            refused(&|event| {
                let mut content = event.content.to_vec();
                content[bit / 8] ^= 1 << (bit % 8);
                event.content = content.into();
            });
        }
        refused(&|event| event.content = [&event.content[..], &[0]].concat().into());
    }
}

#[test]
fn its_events_dropped_doubled_or_moved_are_refused() {
    type Change = fn(&mut Vec<NewEvent>);
    let changes: [(Change, Code); 4] = [
        (|events| drop(events.pop()), Code::MalformedBatch),
        (|events| events.push(events[0].clone()), Code::MalformedBatch),
        (|events| events.swap(0, 1), Code::MerkleRootMismatch),
        (|events| events[2] = events[1].clone(), Code::MerkleRootMismatch),
    ];
    for (change, code) in changes {
        let mut signed = recorded();
        change(&mut signed.events);
        assert_eq!(take(&signed).map(|batch| batch.id()), Err(code));
    }
}
