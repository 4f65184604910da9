//! What is no plugin is refused with a sentence that says why, before anything of it runs.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]

mod guest;

use guest::{Guest, all, host, manifest, verdicts, with_config, with_section};
use mainstem_plugin_abi::{ABI, Limits, Version};
use mainstem_plugin_host::{Config, Grants, LoadError, PluginId, inspect};

fn good() -> Guest {
    Guest::answering(&verdicts(&[0]))
}

fn fault_of(module: &[u8]) -> LoadError {
    let host = host();
    let error = host.load(module, all()).unwrap_err();
    println!("{error}");
    error
}

fn fault_with(change: impl FnOnce(&mut Guest)) -> LoadError {
    let mut guest = good();
    change(&mut guest);
    fault_of(&guest.module())
}

#[test]
fn a_plugin_has_the_hash_of_its_module_as_its_id_and_the_manifest_of_its_section() {
    let module = good().module();
    let plugin = host().load(&module, Grants::default()).unwrap();
    assert_eq!(plugin.id(), PluginId::of(&module));
    assert_eq!(plugin.manifest(), &manifest());
    assert_eq!(inspect(&module).unwrap(), (plugin.id(), manifest()));
    assert_eq!(plugin.counters().instances, 1);
}

#[test]
fn a_module_over_the_bound_is_refused_before_it_is_looked_at() {
    let host = with_config(Config { module_bytes_max: 100, ..Config::default() });
    let error = host.load(&[0; 101], all()).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { bytes: 101, max: 100 }), "{error}");
}

#[test]
fn what_is_no_module_is_refused() {
    for bytes in [&b""[..], b"\0asm", b"hello, this is text", &good().module()[..200]] {
        assert!(matches!(fault_of(bytes), LoadError::NotWasm(_)));
    }
    assert!(matches!(fault_of(&wat::parse_str("(component)").unwrap()), LoadError::Component));
}

#[test]
fn garbage_is_never_compiled() {
    let host = host();
    let plain = wat::parse_str(good().text()).unwrap();
    let old = Guest {
        manifest: mainstem_plugin_abi::Manifest { abi: Version { major: 2, minor: 0 }, ..manifest() },
        ..good()
    };
    for module in [&b"\0asm"[..], &plain, &with_section(&plain, &[0; 8]), &old.module()] {
        host.load(module, all()).unwrap_err();
    }
    assert_eq!(host.counters().compiled, 0);
}

#[test]
fn a_module_has_exactly_one_manifest() {
    let plain = wat::parse_str(good().text()).unwrap();
    assert!(matches!(fault_of(&plain), LoadError::NoManifest));
    let section = manifest().encode().unwrap();
    let twice = with_section(&with_section(&plain, &section), &section);
    assert!(matches!(fault_of(&twice), LoadError::Manifests(2)));
    for broken in [&b""[..], &[0; 7], &[0; 8], &[0xff; 64], &vec![0; 70_000]] {
        assert!(matches!(fault_of(&with_section(&plain, broken)), LoadError::Manifest(_)));
    }
}

#[test]
fn another_major_version_and_a_newer_least_minor_one_are_refused_by_both_their_names() {
    let error = fault_with(|guest| guest.manifest.abi = Version { major: 2, minor: 3 });
    assert!(error.to_string().contains("2.3") && error.to_string().contains(&ABI.to_string()), "{error}");
    let error = fault_with(|guest| {
        guest.manifest.abi = Version { major: 1, minor: 7 };
        guest.manifest.abi_minor_least = 7;
    });
    assert!(error.to_string().contains("1.7") && error.to_string().contains(&ABI.to_string()), "{error}");
}

#[test]
fn an_older_minor_version_and_a_newer_one_that_works_with_this_one_are_taken() {
    for minor in [0, 7] {
        let other = Version { major: 1, minor };
        let mut guest = good();
        (guest.manifest.abi, guest.abi) = (other, other.to_u32());
        guest.load();
    }
}

#[test]
fn the_module_and_its_manifest_must_name_the_same_version() {
    let older = Version { major: 1, minor: 0 };
    let error = fault_with(|guest| guest.abi = older.to_u32());
    assert!(matches!(error, LoadError::AbiMismatch { .. }));
    assert!(error.to_string().contains("1.0") && error.to_string().contains(&ABI.to_string()), "{error}");
}

#[test]
fn other_imports_are_refused_by_name() {
    let import = |text: &str| {
        let error = fault_with(|guest| guest.imports = format!("{text} {}", guest.imports));
        assert!(matches!(error, LoadError::Import { .. }));
        error.to_string()
    };
    assert!(import(r#"(import "env" "abort" (func))"#).contains("env.abort"));
    assert!(import(r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#).contains("fd_write"));
    assert!(
        import(r#"(import "mainstem" "host_call" (func (param i32) (result i64)))"#).contains("another type")
    );
    assert!(import(r#"(import "mainstem" "host_call" (global i32))"#).contains("another type"));
    assert!(import(r#"(import "mainstem" "memory" (func))"#).contains("mainstem.memory"));
}

#[test]
fn a_module_without_imports_is_taken() {
    Guest { imports: String::new(), ..good() }.load();
}

#[test]
fn a_missing_export_and_one_of_another_type_are_refused_by_name() {
    let export = |text: String| {
        let module = with_section(&wat::parse_str(text).unwrap(), &manifest().encode().unwrap());
        let error = fault_of(&module);
        assert!(matches!(error, LoadError::Export { .. }), "{error}");
        error.to_string()
    };
    let text = good().text();
    for name in ["memory", "mainstem_abi", "mainstem_alloc", "mainstem_free", "mainstem_call"] {
        let error = export(text.replace(&format!("(export \"{name}\")"), ""));
        assert!(error.contains(name) && error.contains("missing"), "{error}");
    }
    let abi = ABI.to_u32();
    let (right, wrong) =
        (format!("(result i32) (i32.const {abi})"), format!("(result i64) (i64.const {abi})"));
    assert!(text.contains(&right), "{text}");
    let error = export(text.replace(&right, &wrong));
    assert!(error.contains("mainstem_abi"), "{error}");
    export(
        text.replace("(export \"memory\")", "(export \"mainstem_memory\")")
            .replace("(global $top", "(global (export \"memory\") i32 (i32.const 0)) (global $top"),
    );
    export(good().text().replacen("(global", "(func (export \"_initialize\") (param i32)) (global", 1));
}

#[test]
fn extensions_beyond_those_of_the_abi_are_refused_as_the_module_is_compiled() {
    let more = [
        "(memory 1)",
        "(func (result i32) (i32.atomic.load (i32.const 0)))",
        "(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
        "(type (struct))",
        "(tag)",
        "(func (param externref))",
    ];
    for more in more {
        let error = fault_with(|guest| guest.more = more.into());
        assert!(matches!(error, LoadError::Compile(_)), "{more}: {error}");
    }
    let error = fault_with(|guest| guest.memory = "(memory (export \"memory\") i64 2)".into());
    assert!(matches!(error, LoadError::Compile(_)), "{error}");
}

#[test]
fn extensions_of_the_abi_are_taken() {
    let more = "
        (func (result i32 i32) (i32.const 1) (i32.const 2))
        (func (param i64) (result i64 i64) (i64.mul_wide_u (local.get 0) (local.get 0)))
        (func (param f64) (result i32) (i32.trunc_sat_f64_s (local.get 0)))
        (func (param i32) (result i32) (i32.extend8_s (local.get 0)))
        (func (result i32) (return_call 1))
        (func (drop (i32x4.splat (i32.const 1))))
        (table $t 4 funcref) (func (table.set $t (i32.const 0) (ref.null func)))
        (global i32 (i32.add (i32.const 1) (i32.const 2)))";
    Guest { more: more.into(), ..good() }.load();
}

#[test]
fn a_memory_that_begins_larger_than_what_it_gets_is_refused() {
    let error = fault_with(|guest| guest.memory = "(memory (export \"memory\") 257)".into());
    assert!(matches!(error, LoadError::Memory { bytes: 16_842_752, max: 16_777_216, .. }), "{error}");
    let mut guest = good();
    guest.memory = "(memory (export \"memory\") 257)".into();
    guest.manifest.limits = Limits { memory_bytes: 32 << 20, ..Limits::default() };
    guest.load();
    guest.memory = "(memory (export \"memory\") 1025)".into();
    guest.manifest.limits.memory_bytes = 1 << 40;
    assert!(matches!(fault_of(&guest.module()), LoadError::Memory { max: 67_108_864, .. }));
}

#[test]
fn a_table_that_begins_larger_than_what_it_gets_is_refused() {
    let error = fault_with(|guest| guest.more = "(table 10001 funcref)".into());
    assert!(error.to_string().contains("10001") && error.to_string().contains("10000"), "{error}");
    let error = fault_with(|guest| guest.more = "(table 1 funcref)".repeat(9));
    assert!(matches!(error, LoadError::Table(_)), "{error}");
    Guest { more: "(table 10000 funcref)".into(), ..good() }.load();
}

#[test]
fn a_module_that_fails_as_it_starts_is_refused() {
    let starts = [
        "(func $start unreachable) (start $start)",
        "(func $start (loop $l (br $l))) (start $start)",
        "(func (export \"_initialize\") unreachable)",
        "(func (export \"_initialize\") (drop (call $host (i32.const 0) (i32.const 8))))",
        "(data (i32.const 131072) \"x\")",
    ];
    for more in starts {
        let error = fault_with(|guest| guest.more = more.into());
        assert!(matches!(error, LoadError::Start(_)), "{more}: {error}");
    }
}

#[test]
fn initialize_is_called_once_and_first() {
    let mut guest = good();
    guest.more = "(global $ready (mut i32) (i32.const 0))
        (func (export \"_initialize\") (global.set $ready (i32.add (global.get $ready) (i32.const 1))))"
        .into();
    guest.call = format!("(if (i32.ne (global.get $ready) (i32.const 1)) (then unreachable)) {}", guest.call);
    let plugin = guest.load();
    for _ in 0..3 {
        plugin.verify(&[guest::item()]).unwrap();
    }
}

#[test]
fn a_plugin_speaks_for_ethereum_addresses_only_with_a_grant() {
    use mainstem_model::SignatureScheme;
    let speaks = |origin_ethereum| {
        let grants = Grants { origin_ethereum, ..Grants::default() };
        let plugin = host().load(&good().module(), grants).unwrap();
        let scheme = mainstem_plugin_host::SignaturePlugin::new(plugin).unwrap();
        assert_eq!(scheme.signature_type().0, 200);
        [1, 2, 200, 201].map(|of| scheme.speaks_for(of))
    };
    assert_eq!(speaks(false), [false, false, true, false]);
    assert_eq!(speaks(true), [true, false, true, false]);
}
