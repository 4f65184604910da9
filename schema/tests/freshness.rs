//! The committed Rust is what the schema files give.

use std::{fs, path::Path, process::Command};

#[test]
fn the_committed_rust_is_what_the_schema_files_give() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        Command::new("capnp").arg("--version").output().is_ok(),
        "the Cap'n Proto compiler is missing: apt-get install capnproto (brew install capnp)"
    );
    let out = tempfile::tempdir().unwrap();
    let ours = Path::new("src/generated");
    let abi = Path::new("../plugin-api/abi/src/generated");
    let files = [("batch", ours), ("error", ours), ("frame", ours), ("peer", ours), ("plugin", abi)];
    let mut command = capnpc::CompilerCommand::new();
    command.output_path(out.path()).src_prefix(schema).default_parent_module(vec!["generated".into()]);
    for (file, _) in files {
        command.file(schema.join(format!("{file}.capnp")));
    }
    command.run().unwrap();
    for (file, folder) in files {
        let name = format!("{file}_capnp.rs");
        let fresh = fs::read_to_string(out.path().join(&name)).unwrap();
        let committed = fs::read_to_string(schema.join(folder).join(&name)).unwrap();
        // The first lines name the file as it was given to the compiler.
        let body = |text: &str| {
            text.lines().skip_while(|line| line.starts_with("//")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(body(&fresh) == body(&committed), "{name} is stale: run schema/generate.sh");
    }
}
