//! A cursor that decodes has one form, as bytes and as text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstem_model::Cursor;

fuzz_target!(|data: &[u8]| {
    if let Ok(cursor) = Cursor::decode(data) {
        assert_eq!(cursor.encode(), data);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert_eq!(cursor.with_skip(7).skip(), 7);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = text.parse::<Cursor>();
    }
});
