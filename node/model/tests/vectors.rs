//! The vectors of `conformance/vectors`, made by an independent program, hold here: every one of them, to the byte.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its counts"
)]

use bytes::Bytes;
use mainstem_crypto::{PublicKey, SecretKey, Signature, merkle, personal_message_digest, recover};
use mainstem_model::*;
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command};

/// A refusal as the vectors tell it: the step that refuses, and the code.
type Refused = (&'static str, Code);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors")
}

/// Runs every case of a file: `run` gives the output of a valid input, or where and why it was refused.
fn check(file: &str, run: impl Fn(&Value) -> Result<Value, Refused>) {
    let text = fs::read_to_string(folder().join(file)).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let tests = document["tests"].as_array().unwrap();
    assert_eq!(Some(tests.len() as u64), document["numberOfTests"].as_u64());
    let mut wrong = Vec::new();
    for test in tests {
        let expect = &test["expect"];
        let expected = match expect.get("valid") {
            Some(output) => Ok(output.clone()),
            None => Err((expect["phase"].as_str().unwrap(), expect["code"].as_str().unwrap())),
        };
        let found = run(&test["input"]).map_err(|(phase, code)| (phase, code.as_str()));
        if found != expected {
            wrong.push(format!("{} ({}): {found:?}, not {expected:?}", test["id"], test["comment"]));
        }
    }
    println!("{file}: {} cases", tests.len());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), tests.len(), wrong.join("\n"));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(text(value).trim_start_matches("0x")).unwrap()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().unwrap()
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn hashes(value: &Value) -> Vec<[u8; 32]> {
    list(value).iter().map(fixed).collect()
}

fn network(value: &Value) -> Network {
    Network { chain_id: number(&value["chainId"]), registry: Address(fixed(&value["registry"])) }
}

fn decode(wire: &Value) -> Result<Batch, Refused> {
    Batch::decode(unhex(wire).into()).map_err(|error| ("decode", error.code()))
}

fn prove(input: &Value) -> Result<Value, Refused> {
    let batch = decode(&input["wire"])?;
    let verified =
        Verifier::new(network(&input["network"])).verify(batch).map_err(|error| ("verify", error.code()))?;
    Ok(json!({ "batchId": hex::encode(verified.id().0), "events": verified.events().len() }))
}

#[test]
fn the_vector_files_are_what_their_generator_writes() {
    let output = Command::new("python3").arg("-B").arg(folder().join("generate.py")).arg("--check").output();
    let output = output.expect("python3 (3.11 or later) is needed to check the vectors");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_vector_file_has_a_test_here() {
    let own = include_str!("vectors.rs").to_owned() + include_str!("../../crypto/tests/vectors.rs");
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".json") || own.contains(&format!("check(\"{name}\"")), "{name}");
    }
}

#[test]
fn network_ids_are_those_of_the_vectors() {
    check("network_id.json", |input| Ok(json!({ "networkId": hex::encode(network(input).id().0) })));
}

#[test]
fn headers_are_read_and_written_as_in_the_vectors() {
    check("header.json", |input| {
        let bytes = unhex(&input["header"]);
        let header = Header::decode(&bytes).map_err(|error| ("decode", error.code()))?;
        assert_eq!(header.encode().to_vec(), bytes, "one encoding");
        let origin = header.origin.to_bytes();
        Ok(json!({
            "batchId": hex::encode(header.id().0),
            "fields": {
                "network": hex::encode(header.network.0),
                "stream": hex::encode(header.stream_partition.stream.0.0),
                "partition": header.stream_partition.partition.number(),
                "originType": header.origin.kind(),
                "origin": hex::encode(&origin[2..2 + usize::from(origin[1])]),
                "series": header.series.0.to_string(),
                "sequence": header.sequence.to_string(),
                "count": header.count,
                "previous": hex::encode(header.previous.0),
                "merkleRoot": hex::encode(header.merkle_root),
                "timestampMin": header.timestamp_min.to_string(),
                "timestampMax": header.timestamp_max.to_string(),
                "signatureType": header.signature_type.0,
            }
        }))
    });
}

fn event(value: &Value) -> NewEvent {
    NewEvent {
        timestamp: number(&value["timestamp"]),
        content_type: ContentType(number(&value["contentType"])),
        encryption_type: EncryptionType(number(&value["encryptionType"])),
        content: unhex(&value["content"]).into(),
    }
}

#[test]
fn batches_get_the_ids_signatures_and_bytes_of_the_vectors() {
    check("batch_id.json", |input| {
        let network = network(&input["network"]);
        let key = SecretKey::from_bytes(&fixed(&input["secretKey"])).unwrap();
        let events: Vec<_> = list(&input["events"]).iter().map(event).collect();
        let mut leaf_hashes: Vec<_> = events.iter().map(|event| event.as_ref().leaf_hash()).collect();
        let times = events.iter().map(|event| event.timestamp);
        let header = Header {
            network: network.id(),
            stream_partition: StreamId(Address(fixed(&input["stream"])))
                .partition(number::<u16>(&input["partition"]).try_into().unwrap()),
            origin: Origin::ethereum(key.address()),
            series: SeriesId(number(&input["series"])),
            sequence: number(&input["sequence"]),
            count: events.len() as u16,
            previous: BatchId(fixed(&input["previous"])),
            merkle_root: merkle::root_in_place(&mut leaf_hashes),
            timestamp_min: times.clone().min().unwrap(),
            timestamp_max: times.max().unwrap(),
            signature_type: SignatureType::SECP256K1,
        };
        let digest = personal_message_digest(&header.id().0);
        let signature = key.sign(&digest);
        let batch = Batch::assemble(&header, signature.as_bytes(), &[], &events).unwrap();
        let again = Batch::decode(batch.bytes().clone()).unwrap();
        assert_eq!(again, batch);
        assert!(again.events().eq(events.iter().map(NewEvent::as_ref)));
        Verifier::new(network).verify(again).unwrap();
        if header.sequence == 0 {
            let signer = Signer::wallet(key);
            let mut writer = SeriesWriter::new(network, header.stream_partition, signer, header.series);
            assert_eq!(writer.seal(&events).unwrap(), batch, "the writer makes the same batch");
        }
        Ok(json!({
            "leaves": events.iter().map(|event| hex::encode(event.as_ref().leaf())).collect::<Vec<_>>(),
            "merkleRoot": hex::encode(header.merkle_root),
            "header": hex::encode(header.encode()),
            "batchId": hex::encode(batch.id().0),
            "digest": hex::encode(digest),
            "signature": hex::encode(signature.as_bytes()),
            "wire": hex::encode(batch.bytes()),
        }))
    });
}

#[test]
fn batches_are_proven_or_refused_as_in_the_vectors() {
    check("batch_verify.json", prove);
}

#[test]
fn malformed_batches_are_refused_with_the_codes_of_the_vectors() {
    check("malformed.json", prove);
}

#[test]
fn other_encodings_of_the_vectors_differ_in_nothing_but_form() {
    // Such a message parses; only the comparison of every bit tells it from the one encoding.
    let text = fs::read_to_string(folder().join("malformed.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let flagged = |test: &&Value| list(&test["flags"]).contains(&json!("OneEncoding"));
    let others: Vec<_> = list(&document["tests"]).iter().filter(flagged).collect();
    assert!(others.len() > 10, "{}", others.len());
    for test in others {
        let wire = Bytes::from(unhex(&test["input"]["wire"]));
        let parsed = Batch::parse(wire.clone()).map(|batch| batch.header().count);
        assert_eq!(parsed, Ok(3), "{}", test["id"]);
        assert_eq!(
            Batch::decode(wire),
            Err(BatchError::Malformed("the encoding has bits that its fields do not explain")),
            "{}",
            test["id"]
        );
    }
}

#[test]
fn delegations_are_signed_and_judged_as_in_the_vectors() {
    check("delegation.json", |input| {
        if input.get("wire").is_some() {
            return prove(input);
        }
        let network = network(&input["network"]);
        let wallet = SecretKey::from_bytes(&fixed(&input["walletKey"])).unwrap();
        let streams = list(&input["streams"]).iter().map(|id| text(id).parse().unwrap()).collect();
        let session_key = text(&input["sessionKey"]).parse().unwrap();
        let delegation =
            Delegation::sign(&network, &wallet, session_key, streams, number(&input["expiry"])).unwrap();
        let bytes = delegation.encode();
        assert_eq!(Delegation::decode(&bytes), Ok(delegation.clone()));
        // The two inner hashes are for who implements it; here only the digest over them is public.
        let test = find_output("delegation.json", input);
        Ok(json!({
            "domainSeparator": test["domainSeparator"],
            "structHash": test["structHash"],
            "digest": hex::encode(delegation.digest(&network)),
            "delegation": hex::encode(bytes),
            "wallet": delegation.wallet(&network).unwrap().address().to_string(),
        }))
    });
}

fn find_output(file: &str, input: &Value) -> Value {
    let document: Value = serde_json::from_str(&fs::read_to_string(folder().join(file)).unwrap()).unwrap();
    let test = list(&document["tests"]).iter().find(|test| test["input"] == *input).unwrap();
    test["expect"]["valid"].clone()
}

#[test]
fn event_proofs_hold_or_fail_as_in_the_vectors() {
    check("event_proof.json", |input| {
        let refused = |phase| move |error: BatchError| (phase, error.code());
        let proof = EventProof {
            header: Header::decode(&unhex(&input["header"])).map_err(refused("decode"))?,
            signature: unhex(&input["signature"]).into(),
            delegation: unhex(&input["delegation"]).into(),
            index: number(&input["index"]),
            event: EventProof::event_of_leaf(&Bytes::from(unhex(&input["leaf"])))
                .map_err(refused("decode"))?,
            path: hashes(&input["path"]),
        };
        proof.verify(&Verifier::new(network(&input["network"]))).map_err(refused("verify"))?;
        Ok(json!({}))
    });
}

#[test]
fn series_go_on_or_stop_as_in_the_vectors() {
    check("series_chain.json", |input| {
        let headers: Vec<_> =
            list(&input["headers"]).iter().map(|bytes| Header::decode(&unhex(bytes)).unwrap()).collect();
        let (last, before) = headers.split_last().unwrap();
        let mut head = SeriesHead::START;
        for header in before {
            assert_eq!(head.judge(header), SeriesVerdict::Next);
            head = SeriesHead {
                next_sequence: header.next_sequence(),
                last: header.id(),
                timestamp: header.timestamp_min,
                frozen: false,
            };
        }
        let next = last.next_sequence().to_string();
        let told =
            |verdict| Ok(json!({ "verdict": verdict, "next": next, "last": hex::encode(last.id().0) }));
        match head.judge(last) {
            SeriesVerdict::Next => told("next"),
            SeriesVerdict::Past if before.iter().any(|header| header.id() == last.id()) => told("duplicate"),
            SeriesVerdict::Past => Err(("order", Code::Equivocation)),
            SeriesVerdict::Gap | SeriesVerdict::Fork => Err(("order", Code::SeriesGap)),
            SeriesVerdict::Backdated => Err(("order", Code::InvalidTimestamp)),
        }
    });
}

#[test]
fn series_verdicts_are_those_of_the_vectors() {
    let text = fs::read_to_string(folder().join("series_chain.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    for test in list(&document["tests"]) {
        let Some(expected) = test["expect"].get("verdict") else { continue };
        let headers: Vec<_> = list(&test["input"]["headers"])
            .iter()
            .map(|bytes| Header::decode(&unhex(bytes)).unwrap())
            .collect();
        let (last, before) = headers.split_last().unwrap();
        let head = before.last().map_or(SeriesHead::START, |header| SeriesHead {
            next_sequence: header.next_sequence(),
            last: header.id(),
            timestamp: header.timestamp_min,
            frozen: false,
        });
        let found = match head.judge(last) {
            SeriesVerdict::Next => "next",
            SeriesVerdict::Past => "past",
            SeriesVerdict::Fork => "fork",
            SeriesVerdict::Gap => "gap",
            SeriesVerdict::Backdated => "backdated",
        };
        assert_eq!(Some(found), expected.as_str(), "{}", test["id"]);
    }
}

#[test]
fn equivocations_prove_what_the_vectors_say() {
    check("equivocation.json", |input| {
        let proof = Equivocation { first: decode(&input["first"])?, second: decode(&input["second"])? };
        proof.verify(&Verifier::new(network(&input["network"]))).map_err(|error| ("verify", error.code()))?;
        Ok(json!({}))
    });
}

#[test]
fn keys_fall_into_the_partitions_of_the_vectors() {
    check("partition_of_key.json", |input| {
        let key = match input.get("text") {
            Some(value) => PartitionKey::Text(text(value).to_owned()),
            None => PartitionKey::Number(number(&input["number"])),
        };
        Ok(json!({ "partition": Partition::of_key(&key, number(&input["partitions"])).number() }))
    });
}

#[test]
fn sign_ins_pass_or_fail_as_in_the_vectors() {
    check("challenge.json", |input| {
        let challenge = Challenge {
            node: text(&input["node"]).parse().unwrap(),
            audience: text(&input["audience"]).to_owned(),
            nonce: fixed(&input["nonce"]),
        };
        let issued_at = number(&input["issuedAt"]);
        let address = text(&input["address"]).parse().unwrap();
        challenge
            .verify(address, issued_at, &unhex(&input["signature"]), number(&input["now"]))
            .map_err(|refusal| ("verify", refusal.code))?;
        Ok(json!({ "text": challenge.text(issued_at), "digest": hex::encode(challenge.digest(issued_at)) }))
    });
}

#[test]
fn a_key_that_the_verifier_remembers_judges_as_recovery_does() {
    // The first batch of an origin goes through recovery, later ones through its cached key.
    let text = fs::read_to_string(folder().join("batch_verify.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let tests = list(&document["tests"]);
    let warm = Verifier::new(network(&tests[0]["input"]["network"]));
    warm.verify(decode(&tests[0]["input"]["wire"]).unwrap()).unwrap();
    for test in tests {
        let cold = Verifier::new(network(&test["input"]["network"]));
        let batch = decode(&test["input"]["wire"]).unwrap();
        let codes =
            [&warm, &cold].map(|verifier| verifier.verify(batch.clone()).map_err(|error| error.code()));
        assert_eq!(codes[0], codes[1], "{}", test["id"]);
    }
}

#[test]
fn what_is_proven_also_recovers_to_the_origin() {
    // As a contract does it, with ecrecover and without a cached key.
    let text = fs::read_to_string(folder().join("batch_id.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    for test in list(&document["tests"]) {
        let batch = decode(&test["expect"]["valid"]["wire"]).unwrap();
        let signature = Signature::from_slice(batch.signature()).unwrap();
        let key: PublicKey = recover(&personal_message_digest(&batch.id().0), &signature).unwrap();
        assert_eq!(batch.header().origin.address(), Some(key.address()), "{}", test["id"]);
    }
}

fn assignment(input: &Value) -> Assignment {
    let seeds = list(&input["seeds"]).iter();
    let members = list(&input["brokers"]).iter().map(|broker| {
        let member = Member {
            weight: number(&broker["weight"]),
            active_from: number(&broker["activeFrom"]),
            leave_at: number(&broker["leaveAt"]),
        };
        (Address(fixed(&broker["broker"])), member)
    });
    Assignment {
        epoch: number(&input["epoch"]),
        shards: ShardCount::new(1).unwrap(),
        replicas: number(&input["replicas"]),
        rotation_epochs: number(&input["rotationEpochs"]),
        seeds: seeds.map(|seed| (number(&seed["epoch"]), Seed(fixed(&seed["seed"])))).collect(),
        members: members.collect(),
    }
}

#[test]
fn shards_and_their_brokers_are_those_of_the_vectors() {
    let shards = |input: &Value| ShardCount::new(number(&input["shards"])).unwrap();
    check("assignment.json", |input| {
        if input.get("stream").is_some() {
            let partition: u16 = number(&input["partition"]);
            let stream = StreamId(Address(fixed(&input["stream"])));
            let shard = Shard::of(stream.partition(partition.try_into().unwrap()), shards(input));
            Ok(json!({ "shard": shard.0 }))
        } else if input.get("brokers").is_some() {
            let ranked = assignment(input).ranked(Shard(number(&input["shard"])));
            let one = |(broker, score): (Address, Score)| json!({ "broker": broker.to_string(), "score": hex::encode(score.to_bytes()) });
            Ok(json!({ "assigned": ranked.into_iter().map(one).collect::<Vec<_>>() }))
        } else if input.get("active").is_some() {
            let (replicas, slots) = (number(&input["replicas"]), number(&input["slotsPerBroker"]));
            Ok(json!({ "shards": shards(input).grown(number(&input["active"]), replicas, slots).number() }))
        } else {
            let claim = AssignmentClaim {
                epoch: number(&input["epoch"]),
                shard: Shard(number(&input["shard"])),
                seed: Seed(fixed(&input["seed"])),
            };
            let digest = claim.digest(number(&input["chainId"]), Address(fixed(&input["coordinator"])));
            Ok(json!({ "digest": hex::encode(digest) }))
        }
    });
}
