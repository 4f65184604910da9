//! A header that decodes has one form and is in its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstem_model::{BatchKey, Header, SeriesHead, limits};

fuzz_target!(|data: &[u8]| {
    let Ok(header) = Header::decode(data) else { return };
    assert_eq!(header.encode(), data);
    assert!((1..=limits::EVENTS_PER_BATCH_MAX).contains(&usize::from(header.count)));
    assert!(header.next_sequence() > header.sequence);
    assert!(header.timestamp_max - header.timestamp_min <= limits::BATCH_SPAN_MS_MAX);
    let key = BatchKey::of(&header);
    assert_eq!(BatchKey::decode(&key.encode()), Some(key));
    SeriesHead::START.judge(&header);
});
