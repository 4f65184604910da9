//! Whatever a plugin asks the node for: answered or refused, and nothing that was not granted.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mainstem_plugin_host::fuzzing::request(data));
