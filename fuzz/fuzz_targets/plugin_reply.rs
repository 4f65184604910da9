//! Whatever lies where a plugin says that its reply does: read or refused, and what is read is what was asked for.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mainstem_plugin_host::fuzzing::reply(data));
