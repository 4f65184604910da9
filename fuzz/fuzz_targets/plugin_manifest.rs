//! A manifest, and a module with one: read or refused, and what is read is written as the same one.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mainstem_plugin_host::fuzzing::manifest(data));
