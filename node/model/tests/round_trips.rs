//! Whatever can be written is read back as it was. Failing inputs are printed with their seed by proptest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use mainstem_crypto::{SecretKey, merkle};
use mainstem_model::*;
use proptest::{collection::vec, prelude::*};

fn address() -> impl Strategy<Value = Address> {
    any::<[u8; 20]>().prop_map(Address)
}

fn secret_key() -> impl Strategy<Value = SecretKey> {
    any::<[u8; 32]>().prop_filter_map("below the curve order", |bytes| SecretKey::from_bytes(&bytes).ok())
}

fn network() -> impl Strategy<Value = Network> {
    (any::<u64>(), address()).prop_map(|(chain_id, registry)| Network { chain_id, registry })
}

fn stream_partition() -> impl Strategy<Value = StreamPartition> {
    (address(), 0..100_u16).prop_map(|(id, n)| StreamId(id).partition(n.try_into().unwrap()))
}

/// An origin of any type and length.
fn origin() -> impl Strategy<Value = Origin> {
    let other = (2..=u8::MAX, vec(any::<u8>(), 0..=32)).prop_map(|(kind, value)| {
        let mut bytes = [0; Origin::ENCODED_LENGTH];
        (bytes[0], bytes[1]) = (kind, value.len() as u8);
        bytes[2..2 + value.len()].copy_from_slice(&value);
        Origin::from_bytes(&bytes).unwrap()
    });
    prop_oneof![address().prop_map(Origin::ethereum), other]
}

fn header() -> impl Strategy<Value = Header> {
    let place = (any::<[u8; 32]>(), stream_partition(), origin(), any::<u64>());
    let order = (any::<u64>(), 1..=1024_u16, any::<[u8; 32]>(), any::<[u8; 32]>());
    let rest = (any::<i64>(), 0..=60_000_i64, any::<u8>());
    (place, order, rest).prop_map(|(place, (sequence, count, previous, merkle_root), rest)| {
        let sequence = sequence.min(u64::MAX - u64::from(count));
        let timestamp_min = rest.0.min(i64::MAX - rest.1);
        Header {
            network: NetworkId(place.0),
            stream_partition: place.1,
            origin: place.2,
            series: SeriesId(place.3),
            sequence,
            count,
            previous: if sequence == 0 { BatchId::NONE } else { BatchId(previous) },
            merkle_root,
            timestamp_min,
            timestamp_max: timestamp_min + rest.1,
            signature_type: SignatureType(rest.2),
        }
    })
}

fn event() -> impl Strategy<Value = NewEvent> {
    let kinds = (any::<u16>(), any::<u16>());
    (1_700_000_000_000..1_700_000_060_000_i64, kinds, vec(any::<u8>(), 0..200)).prop_map(
        |(timestamp, kinds, content)| NewEvent {
            timestamp,
            content_type: ContentType(kinds.0),
            encryption_type: EncryptionType(kinds.1),
            content: content.into(),
        },
    )
}

fn cursor() -> impl Strategy<Value = Cursor> {
    let key = (any::<i64>(), origin(), any::<u64>(), any::<u64>()).prop_map(
        |(timestamp, origin, series, sequence)| BatchKey {
            timestamp,
            origin,
            series: SeriesId(series),
            sequence,
        },
    );
    let arrival =
        any::<(u64, u64, u16)>().prop_map(|(log, position, skip)| Cursor::Arrival { log, position, skip });
    let history = (any::<(u64, u64, u16)>(), key).prop_map(|((log, until, skip), key)| Cursor::History {
        log,
        until,
        key,
        skip,
    });
    prop_oneof![arrival, history]
}

proptest! {
    #[test]
    fn headers_are_read_as_they_were_written(header in header()) {
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn cursors_are_read_as_they_were_written(cursor in cursor()) {
        prop_assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn keys_of_batches_sort_as_their_bytes_do(headers in (header(), header())) {
        let (a, b) = (BatchKey::of(&headers.0), BatchKey::of(&headers.1));
        prop_assert_eq!(BatchKey::decode(&a.encode()), Some(a));
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
    }

    #[test]
    fn ids_are_read_as_they_were_shown(at in stream_partition()) {
        prop_assert_eq!(at.to_string().parse(), Ok(at));
        prop_assert_eq!(at.stream.to_string().parse(), Ok(at.stream));
        prop_assert_eq!(at.stream.0.checksummed().parse(), Ok(at.stream.0));
    }

    #[test]
    fn text_of_any_kind_is_read_or_refused(text in any::<String>()) {
        for text in [text.clone(), format!("0x{text}"), format!("0x{}#{text}", "a".repeat(40))] {
            if let Ok(at) = text.parse::<StreamPartition>() {
                prop_assert_eq!(at.to_string().parse(), Ok(at));
            }
            let _ = text.parse::<StreamId>();
            let _ = text.parse::<Cursor>();
            let _ = text.parse::<AckLevel>();
            if let Ok(ack) = text.parse::<Ack>() {
                assert_eq!(ack.to_string().parse(), Ok(ack));
            }
            let _ = text.parse::<Right>();
            let _ = StreamRecord::settings(&text);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_have_that_one_form(bytes in vec(any::<u8>(), 0..600)) {
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode().to_vec(), bytes.clone());
        }
        if let Ok(delegation) = Delegation::decode(&bytes) {
            prop_assert_eq!(delegation.encode(), bytes.clone());
        }
        if let Ok(cursor) = Cursor::decode(&bytes) {
            prop_assert_eq!(cursor.encode(), bytes.clone());
        }
        let shared = Bytes::from(bytes.clone());
        if let Ok(event) = EventProof::event_of_leaf(&shared) {
            prop_assert_eq!(event.as_ref().leaf(), bytes);
        }
        prop_assert!(Batch::decode(shared).is_err());
    }

    #[test]
    fn keys_fall_into_partitions_that_there_are(text in any::<String>(), n in any::<i64>(), partitions in 1..=100_u16) {
        for key in [PartitionKey::Text(text), PartitionKey::Number(n)] {
            prop_assert!(Partition::of_key(&key, partitions).number() < partitions);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_are_read_and_proven_as_they_were_sealed(
        network in network(),
        at in stream_partition(),
        keys in (secret_key(), secret_key()),
        series in any::<u64>(),
        mut runs in vec(vec(event(), 1..40), 1..4),
        delegated in any::<bool>(),
    ) {
        // The time of a series does not go back.
        runs.sort_by_key(|run| run.iter().map(|event| event.timestamp).min());
        let (wallet, session) = keys;
        let origin = Origin::ethereum(wallet.address());
        let signer = if delegated {
            let leave = Delegation::sign(&network, &wallet, session.address(), vec![at.stream], 1).unwrap();
            prop_assert_eq!(Delegation::decode(&leave.encode()), Ok(leave.clone()));
            Signer::session(&network, session, &leave).unwrap()
        } else {
            Signer::wallet(wallet)
        };
        let mut writer = SeriesWriter::new(network, at, signer, SeriesId(series));
        let verifier = Verifier::new(network);
        let mut head = SeriesHead::START;
        for events in runs {
            let sealed = writer.seal(&events).unwrap();
            let read = Batch::decode(sealed.bytes().clone()).unwrap();
            prop_assert_eq!(&read, &sealed);
            prop_assert!(read.events().eq(events.iter().map(NewEvent::as_ref)));
            prop_assert_eq!(read.header().origin, origin);
            prop_assert_eq!(head.judge(read.header()), SeriesVerdict::Next);
            head = SeriesHead::after(&read);
            let proven = verifier.verify(read).unwrap();
            let index = (events.len() / 2) as u16;
            let proof = EventProof::of(&proven, index).unwrap();
            prop_assert_eq!(proof.verify(&verifier), Ok(()));
            prop_assert_eq!(&proof.event, &events[usize::from(index)]);
        }
    }

    #[test]
    fn every_leaf_of_every_tree_has_its_path(count in 1..300_usize, place in any::<prop::sample::Index>()) {
        let leaves: Vec<_> = (0..count).map(|n| merkle::leaf_hash(&[&n.to_be_bytes()])).collect();
        let index = place.index(count);
        let path = merkle::path(&leaves, index).unwrap();
        let root = merkle::root(&leaves);
        prop_assert_eq!(merkle::root_from_path(&leaves[index], index, count, &path), Some(root));
        let other = (index + 1) % count;
        if other != index {
            prop_assert_ne!(merkle::root_from_path(&leaves[index], other, count, &path), Some(root));
        }
    }
}
