//! Hostile bytes against every decoder: refused with a code, at no cost beyond their own size, never a panic.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use capnp::{
    message::{Builder, HeapAllocator},
    serialize,
};
use mainstem_crypto::{SecretKey, merkle, personal_message_digest};
use mainstem_model::*;
use mainstem_schema::batch_capnp;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Counts what each thread allocates in all, freed again or not.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

#[allow(
    unsafe_code,
    reason = "a global allocator is unsafe to write; this one only counts before the system's"
)]
// SAFETY: every call goes to the system's allocator with the arguments as given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|sum| sum.set(sum.get() + layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATED.try_with(|sum| sum.set(sum.get() + size));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `run` allocates in all must stay within 16 times its input and a page for short ones.
fn bounded<T>(input: usize, run: impl FnOnce() -> T) -> T {
    let before = ALLOCATED.get();
    let out = run();
    let spent = ALLOCATED.get() - before;
    assert!(spent <= 16 * input + 4096, "{spent} bytes were allocated for {input} of input");
    out
}

/// Decodes within the bound on allocation.
fn decode(bytes: &[u8]) -> Result<Batch, BatchError> {
    let bytes = Bytes::copy_from_slice(bytes);
    bounded(bytes.len(), || Batch::decode(bytes))
}

const T0: i64 = 1_700_000_000_000;

fn network() -> Network {
    Network { chain_id: 31337, registry: Address([0xc0; 20]) }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32]).unwrap()
}

fn stream() -> StreamPartition {
    StreamId(Address([0x5a; 20])).partition(Partition::ZERO)
}

fn delegation(streams: usize) -> Result<Delegation, BatchError> {
    let mut names: Vec<_> = (1..streams as u64).map(stream_of).collect();
    names.extend((streams > 0).then_some(stream().stream));
    Delegation::sign(&network(), &key(7), key(8).address(), names, 1_800_000_000)
}

fn stream_of(n: u64) -> StreamId {
    let mut bytes = [1; 20];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    StreamId(Address(bytes))
}

fn events() -> Vec<NewEvent> {
    vec![
        NewEvent::json(T0, &serde_json::json!({"t": 20.5})),
        NewEvent::binary(T0 + 3, Bytes::new()),
        NewEvent::binary(T0 + 2, Bytes::from_static(b"\x00\xff twelve")),
    ]
}

fn wallet_batch(events: &[NewEvent]) -> Result<Batch, BatchError> {
    SeriesWriter::new(network(), stream(), Signer::wallet(key(7)), SeriesId(4)).seal(events)
}

fn delegated_batch(events: &[NewEvent]) -> Batch {
    let signer = Signer::session(&network(), key(8), &delegation(2).unwrap()).unwrap();
    SeriesWriter::new(network(), stream(), signer, SeriesId(4)).seal(events).unwrap()
}

fn verify(batch: Batch) -> Result<VerifiedBatch, BatchError> {
    Verifier::new(network()).verify(batch)
}

/// A message of the batch schema with whatever is asked for, in a first segment of `words`.
fn message(words: u32, build: impl FnOnce(batch_capnp::batch::Builder<'_>)) -> Vec<u8> {
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(words));
    build(message.init_root());
    serialize::write_message_to_words(&message)
}

/// The batch as decode demands it, but for the bytes of the parts.
fn raw(header: &[u8], signature: &[u8], delegation: &[u8], events: &[NewEvent]) -> Vec<u8> {
    message(1 << 18, |root| fill(root, header, signature, delegation, events))
}

fn fill(
    mut root: batch_capnp::batch::Builder<'_>,
    header: &[u8],
    signature: &[u8],
    delegation: &[u8],
    events: &[NewEvent],
) {
    root.set_header(header);
    root.set_signature(signature);
    root.set_delegation(delegation);
    let mut list = root.init_events(events.len() as u32);
    for (index, event) in events.iter().enumerate() {
        let mut slot = list.reborrow().get(index as u32);
        slot.set_timestamp(event.timestamp);
        slot.set_content_type(event.content_type.0);
        slot.set_encryption_type(event.encryption_type.0);
        slot.set_content(&event.content);
    }
}

fn refused_as_malformed(bytes: &[u8]) {
    let code = decode(bytes).map_err(|error| error.code());
    assert_eq!(code.map(|batch| batch.id()), Err(Code::MalformedBatch));
}

// --- one bit, one byte -------------------------------------------------------------------------------------------

#[test]
fn a_batch_with_any_single_bit_changed_is_refused() {
    for batch in [wallet_batch(&events()).unwrap(), delegated_batch(&events())] {
        let warm = Verifier::new(network());
        warm.verify(batch.clone()).unwrap();
        let (mut undecoded, mut unproven) = (0, 0);
        for bit in 0..batch.bytes().len() * 8 {
            let mut bytes = batch.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match decode(&bytes) {
                Err(_) => undecoded += 1,
                Ok(changed) => {
                    assert!(warm.verify(changed.clone()).is_err(), "bit {bit}, key known");
                    assert!(verify(changed).is_err(), "bit {bit}, key unknown");
                    unproven += 1;
                }
            }
        }
        // Header, signature, delegation, event fields and contents decode with other bits; the rest does not.
        assert!(undecoded > 1000 && unproven > 1000, "{undecoded} {unproven}");
    }
}

#[test]
fn a_batch_cut_short_anywhere_is_refused() {
    for batch in [wallet_batch(&events()).unwrap(), delegated_batch(&events())] {
        for length in 0..batch.bytes().len() {
            refused_as_malformed(&batch.bytes()[..length]);
        }
    }
}

#[test]
fn a_batch_with_bytes_behind_it_is_refused() {
    let batch = wallet_batch(&events()).unwrap();
    for more in 1..=64 {
        for fill in [0, 1, 0xff] {
            let bytes = [batch.bytes(), &vec![fill; more][..]].concat();
            refused_as_malformed(&bytes);
            // The store's own reading, which does not compare every bit, sees this too.
            assert_eq!(Batch::parse(bytes.into()).unwrap_err().code(), Code::MalformedBatch);
        }
    }
    refused_as_malformed(&[&batch.bytes()[..], batch.bytes()].concat());
}

#[test]
fn a_batch_with_any_byte_cut_out_or_doubled_is_refused() {
    let batch = wallet_batch(&events()).unwrap();
    for at in 0..batch.bytes().len() {
        let (before, after) = batch.bytes().split_at(at);
        for bytes in [[before, &after[1..]].concat(), [before, &after[..1], after].concat()] {
            assert!(decode(&bytes).is_err(), "byte {at}");
        }
    }
}

#[test]
fn a_header_with_any_single_bit_changed_is_refused_or_another_header() {
    let batch = wallet_batch(&events()).unwrap();
    let good = batch.header().encode();
    for bit in 0..good.len() * 8 {
        let mut bytes = good;
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(header) = bounded(bytes.len(), || Header::decode(&bytes)) {
            assert_eq!(header.encode(), bytes, "bit {bit}");
            assert_ne!(header.id(), batch.id(), "bit {bit}");
        }
    }
    for length in (0..good.len()).chain(good.len() + 1..300) {
        let bytes: Vec<u8> = good.iter().copied().cycle().take(length).collect();
        let code = Header::decode(&bytes).map_err(|error| error.code());
        assert_eq!(code, Err(Code::MalformedBatch), "{length} bytes");
    }
}

#[test]
fn a_delegation_with_any_single_bit_changed_is_refused_or_fits_another_wallet() {
    let good = delegation(2).unwrap().encode();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(changed) = bounded(bytes.len(), || Delegation::decode(&bytes)) {
            assert_eq!(changed.encode(), bytes, "bit {bit}");
            let wallet = changed.wallet(&network()).map(|wallet| wallet.address());
            assert_ne!(wallet, Ok(key(7).address()), "bit {bit}");
        }
    }
    for length in (0..good.len()).chain(good.len() + 1..good.len() + 100) {
        let bytes: Vec<u8> = good.iter().copied().cycle().take(length).collect();
        let code = bounded(length, || Delegation::decode(&bytes)).map_err(|error| error.code());
        assert_eq!(code, Err(Code::InvalidDelegation), "{length} bytes");
    }
}

#[test]
fn a_cursor_has_one_encoding_and_no_other_length() {
    let batch = wallet_batch(&events()).unwrap();
    let key = BatchKey::of(batch.header());
    for cursor in
        [Cursor::Arrival { log: 1, position: 2, skip: 3 }, Cursor::History { log: 1, until: 2, key, skip: 4 }]
    {
        let good = cursor.encode();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(changed) = bounded(bytes.len(), || Cursor::decode(&bytes)) {
                assert_eq!(changed.encode(), bytes, "bit {bit}");
                assert_ne!(changed, cursor, "bit {bit}");
            }
        }
        for length in (0..good.len()).chain(good.len() + 1..200) {
            let bytes: Vec<u8> = good.iter().copied().cycle().take(length).collect();
            assert_eq!(Cursor::decode(&bytes).unwrap_err().code, Code::InvalidCursor, "{length} bytes");
        }
    }
}

#[test]
fn an_answer_to_a_challenge_with_any_single_bit_changed_is_refused() {
    let challenge = Challenge { node: Address([1; 20]), audience: "quic".into(), nonce: [2; 16] };
    let good = *key(7).sign(&challenge.digest(T0)).as_bytes();
    assert!(challenge.verify(key(7).address(), T0, &good, T0).is_ok());
    for bit in 0..good.len() * 8 {
        let mut bytes = good;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refusal = challenge.verify(key(7).address(), T0, &bytes, T0).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidSignIn, "bit {bit}");
    }
    for length in (0..65).chain(66..200) {
        let bytes: Vec<u8> = good.iter().copied().cycle().take(length).collect();
        assert!(challenge.verify(key(7).address(), T0, &bytes, T0).is_err(), "{length} bytes");
    }
}

#[test]
fn a_leaf_with_any_single_bit_changed_proves_nothing() {
    let verified = verify(wallet_batch(&events()).unwrap()).unwrap();
    let verifier = Verifier::new(network());
    for index in 0..3 {
        let proof = EventProof::of(&verified, index).unwrap();
        let good = proof.event.as_ref().leaf();
        let read = EventProof::event_of_leaf(&Bytes::from(good.clone())).unwrap();
        EventProof { event: read, ..proof.clone() }.verify(&verifier).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let bytes = Bytes::from(bytes);
            if let Ok(event) = bounded(bytes.len(), || EventProof::event_of_leaf(&bytes)) {
                let changed = EventProof { event, ..proof.clone() };
                assert_eq!(changed.verify(&verifier), Err(BatchError::MerkleRoot), "bit {bit}");
            }
        }
        for length in (0..good.len()).chain(good.len() + 1..100) {
            let bytes: Bytes = good.iter().copied().cycle().take(length).collect();
            let code = EventProof::event_of_leaf(&bytes).map_err(|error| error.code());
            assert_eq!(code, Err(Code::MalformedBatch), "{length} bytes");
        }
        for at in 0..proof.path.len() {
            let mut changed = proof.clone();
            changed.path[at][31] ^= 1;
            assert_eq!(changed.verify(&verifier), Err(BatchError::MerkleRoot), "sibling {at}");
        }
    }
    assert!(EventProof::of(&verified, 3).is_none());
}

// --- Cap'n Proto as a weapon ---------------------------------------------------------------------------------------

#[test]
fn a_message_of_many_segments_and_far_pointers_is_refused() {
    let batch = wallet_batch(&events()).unwrap();
    let header = batch.header().encode();
    let good = raw(&header, batch.signature(), &[], &events());
    assert_eq!(decode(&good).unwrap(), batch, "in one segment it is the batch");
    for words in [1, 5, 6, 20, 31, 40, 50] {
        let bytes = message(words, |root| fill(root, &header, batch.signature(), &[], &events()));
        assert_ne!(bytes[0], 0, "a first segment of {words} words makes further ones necessary");
        refused_as_malformed(&bytes);
    }
}

#[test]
fn pointers_of_every_kind_and_size_in_every_place_are_refused() {
    let batch = wallet_batch(&events()).unwrap();
    let good = batch.bytes();
    let sizes = [0_u32, 1, 7, 8, 0x0001_0000, 0x0004_0000, 0x1000_0007, 0x7fff_ffff, 0xffff_fff8, u32::MAX];
    let offsets = [0_i32, 1, 4, 5, 40, -1, -2, -6, 0x1fff_ffff, -0x2000_0000];
    for word in 1..good.len() / 8 {
        for kind in 0..4 {
            for offset in offsets {
                for size in sizes {
                    let mut bytes = good.to_vec();
                    let low = (offset as u32) << 2 | kind;
                    bytes[8 * word..8 * word + 4].copy_from_slice(&low.to_le_bytes());
                    bytes[8 * word + 4..8 * word + 8].copy_from_slice(&size.to_le_bytes());
                    if let Ok(changed) = decode(&bytes) {
                        assert!(changed == batch || verify(changed).is_err(), "word {word}");
                    }
                }
            }
        }
    }
}

/// A batch by hand, of words: pointers may lead anywhere.
struct Words(Vec<u64>);

impl Words {
    /// Root, four pointers, header and signature; the events are for the caller.
    fn with(header: &[u8; Header::LENGTH]) -> Self {
        let mut words = Self(vec![0; 5]);
        words.0[0] = 4 << 48;
        words.list(1, 2, 203);
        words.bytes(header);
        words.list(2, 2, 65);
        words.bytes(&[1; 65]);
        words.list(3, 2, 0);
        words
    }

    /// The list pointer at `at` leads to where the segment ends now.
    fn list(&mut self, at: usize, element_size: u64, count: u64) {
        let offset = (self.0.len() - at - 1) as u64;
        self.0[at] = offset << 2 | 1 | element_size << 32 | count << 35;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0.push(u64::from_le_bytes(word));
        }
    }

    fn message(&self) -> Vec<u8> {
        let table = (self.0.len() as u64) << 32;
        std::iter::once(&table).chain(&self.0).flat_map(|word| word.to_le_bytes()).collect()
    }
}

fn header_of(count: u16) -> Header {
    Header { count, ..wallet_batch(&events()).unwrap().header().clone() }
}

#[test]
fn many_events_that_point_at_one_content_are_refused() {
    // 1024 events of 32 KiB each in a message of 57 KiB: 32 MiB to hash if the pointers were followed.
    let mut words = Words::with(&header_of(1024).encode());
    words.list(4, 7, 3 * 1024);
    words.0.push(1024 << 2 | (2 | 1 << 16) << 32);
    let first = words.0.len();
    words.0.resize(first + 3 * 1024, 0);
    let content = words.0.len();
    words.0.resize(content + 4096, 0x5555);
    for event in 0..1024 {
        let at = first + 3 * event + 2;
        words.0[at] = ((content - at - 1) as u64) << 2 | 1 | 2 << 32 | 32_768 << 35;
    }
    refused_as_malformed(&words.message());
}

#[test]
fn lists_that_claim_more_than_there_is_are_refused() {
    let most = (1_u64 << 29) - 1;
    for count in [3, 1024] {
        for element_size in 0..8 {
            for claimed in [0, 1, 3, 4, 1023, 1024, 1025, 1 << 20, most] {
                let mut words = Words::with(&header_of(count).encode());
                words.list(4, element_size, claimed);
                for tag in [0, claimed << 2, claimed << 2 | 1 << 32, claimed << 2 | (2 | 1 << 16) << 32] {
                    let mut tagged = Words(words.0.clone());
                    tagged.0.push(tag);
                    tagged.0.resize(tagged.0.len() + 16, 0);
                    refused_as_malformed(&tagged.message());
                }
                refused_as_malformed(&words.message());
            }
        }
    }
}

#[test]
fn a_deep_nest_in_a_field_that_the_schema_does_not_know_is_refused() {
    // A fifth pointer, as a later schema might have, to 100,000 lists of one pointer within each other.
    let batch = wallet_batch(&events()).unwrap();
    let mut words = Words(vec![0; 6]);
    words.0[0] = 5 << 48;
    words.list(1, 2, 203);
    words.bytes(&batch.header().encode());
    words.list(2, 2, 65);
    words.bytes(batch.signature());
    words.list(3, 2, 0);
    words.list(4, 7, 9);
    words.0.push(3 << 2 | (2 | 1 << 16) << 32);
    let first = words.0.len();
    words.0.resize(first + 9, 0);
    for (index, event) in events().iter().enumerate() {
        let at = first + 3 * index;
        words.0[at] = event.timestamp as u64;
        words.0[at + 1] = u64::from(event.content_type.0);
        words.list(at + 2, 2, event.content.len() as u64);
        words.bytes(&event.content);
    }
    words.list(5, 6, 1);
    words.0.resize(words.0.len() + 100_000, 1 | 6 << 32 | 1 << 35);
    assert!(Batch::parse(words.message().into()).is_ok(), "it says the same");
    refused_as_malformed(&words.message());
}

#[test]
fn bytes_that_follow_no_plan_are_refused() {
    for length in 0..4096 {
        for fill in [0x00, 0x01, 0x55, 0xff] {
            assert!(decode(&vec![fill; length]).is_err());
        }
    }
}

// --- what the header says and what is there ------------------------------------------------------------------------

#[test]
fn a_header_that_counts_other_events_is_refused() {
    let batch = wallet_batch(&events()).unwrap();
    for count in [1, 2, 4, 1024] {
        let header = header_of(count).encode();
        refused_as_malformed(&raw(&header, batch.signature(), &[], &events()));
        assert_eq!(
            Batch::assemble(&header_of(count), batch.signature(), &[], &events()).unwrap_err().code(),
            Code::MalformedBatch
        );
    }
}

#[test]
fn signature_types_that_nobody_here_knows_are_refused_by_their_number() {
    for kind in (0..=u8::MAX).filter(|kind| !matches!(kind, 1 | 2)) {
        let mut header = header_of(3);
        header.signature_type = SignatureType(kind);
        let signature = key(7).sign(&personal_message_digest(&header.id().0));
        let batch = Batch::assemble(&header, signature.as_bytes(), &[], &events()).unwrap();
        let error = verify(Batch::decode(batch.bytes().clone()).unwrap()).unwrap_err();
        assert_eq!(error, BatchError::SignatureType(kind));
        assert_eq!(error.code(), Code::UnknownSignatureType);
        assert!(error.to_string().contains(&format!("signature type {kind} ")), "{error}");
    }
}

// --- bounds, at n and at n + 1 ---------------------------------------------------------------------------------------

fn small(count: usize) -> Vec<NewEvent> {
    (0..count).map(|n| NewEvent::binary(T0, vec![n as u8].into())).collect()
}

#[test]
fn a_batch_of_1024_events_passes_and_one_of_1025_or_none_does_not() {
    let most = wallet_batch(&small(1024)).unwrap();
    assert_eq!(verify(decode(most.bytes()).unwrap()).unwrap().events().len(), 1024);
    for count in [0, 1025] {
        assert_eq!(wallet_batch(&small(count)), Err(BatchError::EventCount(count)));
        let header = header_of(count as u16);
        assert_eq!(Batch::assemble(&header, &[], &[], &small(count)), Err(BatchError::EventCount(count)));
        let bytes = raw(&header.encode(), most.signature(), &[], &small(count));
        assert_eq!(decode(&bytes), Err(BatchError::EventCount(count)));
    }
}

#[test]
fn a_content_of_one_mebibyte_passes_and_one_byte_more_does_not() {
    let sized = |bytes: usize| vec![NewEvent::binary(T0, vec![0x55; bytes].into())];
    let most = wallet_batch(&sized(limits::CONTENT_BYTES_MAX)).unwrap();
    verify(decode(most.bytes()).unwrap()).unwrap();
    let bytes = limits::CONTENT_BYTES_MAX + 1;
    let error = BatchError::ContentTooLarge { index: 0, bytes };
    assert_eq!(wallet_batch(&sized(bytes)), Err(error.clone()));
    let wire = raw(&most.header().encode(), most.signature(), &[], &sized(bytes));
    assert_eq!(decode(&wire), Err(error));
}

#[test]
fn a_batch_of_the_greatest_size_passes_and_one_word_more_does_not() {
    let of = |bytes: usize| {
        let size = wallet_batch(&[small(1), small(1)].concat()).unwrap().bytes().len();
        let first = limits::CONTENT_BYTES_MAX - 8;
        // The two contents of `size` take one word each.
        let second = bytes - (size - 16) - first;
        [first, second].map(|bytes| NewEvent::binary(T0, vec![0x55; bytes].into()))
    };
    let most = wallet_batch(&of(limits::BATCH_BYTES_MAX)).unwrap();
    assert_eq!(most.bytes().len(), limits::BATCH_BYTES_MAX);
    verify(decode(most.bytes()).unwrap()).unwrap();
    let error = BatchError::TooLarge(limits::BATCH_BYTES_MAX + 8);
    let larger = of(limits::BATCH_BYTES_MAX + 8);
    assert_eq!(wallet_batch(&larger), Err(error.clone()));
    let wire = raw(&most.header().encode(), most.signature(), &[], &larger);
    assert_eq!(decode(&wire), Err(error));
    assert_eq!(decode(&vec![0; limits::BATCH_BYTES_MAX + 1]).unwrap_err().code(), Code::BatchTooLarge);
}

#[test]
fn a_span_of_60_seconds_passes_and_a_millisecond_more_does_not() {
    let spanning = |span: i64| [small(1), vec![NewEvent::binary(T0 + span, Bytes::new())]].concat();
    let most = wallet_batch(&spanning(60_000)).unwrap();
    verify(decode(most.bytes()).unwrap()).unwrap();
    assert_eq!(wallet_batch(&spanning(60_001)).unwrap_err().code(), Code::InvalidTimestamp);
    let header = Header { timestamp_max: T0 + 60_001, ..most.header().clone() };
    let wire = raw(&header.encode(), most.signature(), &[], &spanning(60_001));
    assert_eq!(decode(&wire).unwrap_err().code(), Code::InvalidTimestamp);
}

#[test]
fn a_delegation_of_128_streams_passes_and_one_of_129_does_not() {
    let most = delegation(128).unwrap();
    let bytes = most.encode();
    assert_eq!(bounded(bytes.len(), || Delegation::decode(&bytes)), Ok(most.clone()));
    let signer = Signer::session(&network(), key(8), &most).unwrap();
    let batch = SeriesWriter::new(network(), stream(), signer, SeriesId(1)).seal(&events()).unwrap();
    verify(decode(batch.bytes()).unwrap()).unwrap();
    assert_eq!(delegation(129).unwrap_err().code(), Code::InvalidDelegation);
    let mut streams = most.streams.clone();
    streams.push(stream_of(500));
    let long = Delegation { streams, ..most }.encode();
    assert_eq!(Delegation::decode(&long).unwrap_err().code(), Code::InvalidDelegation);
    // A count without its streams, or the other way round.
    for count in [0_u16, 1, 127, 129, u16::MAX] {
        let mut lying = bytes.clone();
        lying[28..30].copy_from_slice(&count.to_be_bytes());
        let code = bounded(lying.len(), || Delegation::decode(&lying)).unwrap_err().code();
        assert_eq!(code, Code::InvalidDelegation, "{count}");
    }
}

#[test]
fn signatures_and_delegations_as_long_as_plugins_may_need_decode_and_longer_ones_do_not() {
    let header = header_of(3).encode();
    let (signature, delegation) = (limits::SIGNATURE_BYTES_MAX, limits::DELEGATION_BYTES_MAX);
    assert!(decode(&raw(&header, &vec![1; signature], &vec![2; delegation], &events())).is_ok());
    refused_as_malformed(&raw(&header, &vec![1; signature + 1], &[], &events()));
    refused_as_malformed(&raw(&header, &[], &vec![2; delegation + 1], &events()));
}

#[test]
fn merkle_paths_longer_than_any_tree_cost_no_more_than_their_length() {
    let leaf = merkle::leaf_hash(&[b"x"]);
    assert_eq!(merkle::root_from_path(&leaf, 0, usize::MAX, &[[0; 32]; 63]), None);
    assert!(merkle::root_from_path(&leaf, 0, usize::MAX, &[[0; 32]; 64]).is_some());
    assert_eq!(merkle::root_from_path(&leaf, usize::MAX, usize::MAX, &[[0; 32]; 64]), None);
}
