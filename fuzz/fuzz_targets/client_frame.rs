//! A client's bytes on QUIC, in pieces of the first byte's size: frames come out the same however the bytes are cut, and
//! every head is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstem_api::frame::{
    FRAME_BYTES_MAX, Frame, FrameReader, HEAD_BYTES_MAX, decode_request, split_message,
};

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    let whole = frames([bytes].into_iter());
    assert_eq!(whole, frames(bytes.chunks(usize::from(*size).max(1))), "however the bytes are cut");
    for frame in whole {
        assert!(frame.head.len() <= HEAD_BYTES_MAX && frame.body.len() <= FRAME_BYTES_MAX);
        let mut message = (frame.head.len() as u32).to_le_bytes().to_vec();
        message.extend_from_slice(&frame.head);
        message.extend_from_slice(&frame.body);
        assert_eq!(split_message(message.into()).as_ref(), Ok(&frame), "the same as one message");
        if let Err(bad) = decode_request(&frame.head, frame.body) {
            assert!(!bad.refusal.message.is_empty());
        }
    }
});

/// The frames in `parts`, up to the first fault.
fn frames<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<Frame> {
    let (mut reader, mut out) = (FrameReader::default(), Vec::new());
    for mut part in parts {
        while !part.is_empty() {
            match reader.read(&mut part) {
                Ok(Some(frame)) => out.push(frame),
                Ok(None) => {}
                Err(_) => return out,
            }
        }
    }
    out
}
