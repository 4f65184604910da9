//! Manifests go into modules, and into nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_abi::Manifest;
use mainstem_plugin_build::{AttachError, attach, find, parse};

const CORE: &[u8] = b"\0asm\x01\0\0\0";

/// A type section with no types, and a custom section with a name of its own.
const SECTIONS: &[u8] = b"\x01\x01\0\0\x06\x04nameX";

fn manifest(version: &str) -> Manifest {
    let text = format!(
        "name = 'ed25519'\nversion = '{version}'\ndescription = 'Ed25519'\nabi = '1.0'\n\
         [signature]\ntype = 17\norigin_types = [17]\n"
    );
    parse(&text).unwrap()
}

fn module() -> Vec<u8> {
    [CORE, SECTIONS].concat()
}

#[test]
fn what_is_attached_is_found_and_the_rest_stays() {
    let plugin = attach(&module(), &manifest("0.1.0")).unwrap();
    assert!(plugin.starts_with(&module()));
    let found = find(&plugin).unwrap().unwrap();
    assert_eq!(Manifest::decode(found).unwrap(), manifest("0.1.0"));
    assert_eq!(find(&module()), Ok(None));
}

#[test]
fn a_manifest_that_is_there_is_replaced() {
    let first = attach(&module(), &manifest("0.1.0")).unwrap();
    let second = attach(&first, &manifest("0.2.0")).unwrap();
    assert_eq!(second, attach(&module(), &manifest("0.2.0")).unwrap());
    assert_eq!(attach(&second, &manifest("0.1.0")).unwrap(), first);
}

#[test]
fn what_is_no_core_module_is_refused() {
    for (bytes, expected) in [
        (&b""[..], AttachError::NotWasm),
        (b"MZ\x90\0", AttachError::NotWasm),
        (b"\0asm", AttachError::NotCore),
        (b"\0asm\x0d\0\x01\0", AttachError::NotCore),
        (b"\0asm\x02\0\0\0", AttachError::NotCore),
    ] {
        assert_eq!(attach(bytes, &manifest("0.1.0")), Err(expected), "{bytes:?}");
    }
}

#[test]
fn a_module_that_ends_in_the_middle_is_refused_with_the_place() {
    let plugin = attach(&module(), &manifest("0.1.0")).unwrap();
    let ends = [CORE.len(), CORE.len() + 3, module().len()];
    for len in CORE.len()..plugin.len() {
        let cut = attach(&plugin[..len], &manifest("0.1.0"));
        assert_eq!(cut.is_ok(), ends.contains(&len), "{len}");
    }
    let fault = attach(&[CORE, b"\x01\x05\0"].concat(), &manifest("0.1.0")).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the module's section at byte 8 goes on behind the end of the file; build the module again"
    );
}

#[test]
fn sections_that_lie_about_themselves_are_refused() {
    for section in [&b"\x0e\x00"[..], b"\x00\x00", b"\x00\x02\x05n", b"\x01\xff\xff\xff\xff\x7f", b"\x01\x80"]
    {
        let module = [CORE, section].concat();
        assert!(matches!(attach(&module, &manifest("0.1.0")), Err(AttachError::Section { at: 8, .. })));
        assert!(find(&module).is_err(), "{section:?}");
    }
}
