//! A signature type that is not built in, in a whole node: `tools/plugins.sh` has built the plugin.

use crate::process::{Node, OWNER, READER, now_ms, public_stream};
use mainstem_client::{Client, ClientConfig, ClientError, Identity, Start, SubscribeOptions};
use mainstem_crypto::SecretKey;
use mainstem_model::{
    BatchId, Code, NewEvent, Origin, SchemeSigner, SignatureFault, SignatureType, StreamPartition,
};
use mainstem_plugin_host::{Compiler, Config, Grants, Host, Plugin, PluginSigner, SignaturePlugin};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The module of a plugin of this repository.
pub(crate) fn module(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let path = target.join("plugins").join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is missing: run tools/plugins.sh", path.display());
    path
}

pub(crate) fn plugin(name: &str) -> Plugin {
    let host = Host::new(Config::default(), None, Compiler::InProcess).unwrap();
    host.load(&fs::read(module(name)).unwrap(), Grants::default()).unwrap()
}

/// `mainstem plugin …`; what it prints.
pub(crate) fn plugin_command(folder: &Path, args: &[&str]) -> String {
    let mut command = Node::program();
    let output = command.arg("--data-dir").arg(folder).arg("plugin").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The exit code of `mainstem plugin …` where the current folder is that of the data, and what it says on stderr.
fn told(folder: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Node::program();
    command.current_dir(folder).arg("--data-dir").arg(folder).arg("plugin").args(args);
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

pub(crate) async fn connect(node: &Node, identity: Identity, plugin: Option<&Plugin>) -> Client {
    let schemes = plugin.and_then(|plugin| SignaturePlugin::new(plugin.clone()));
    let schemes = schemes.into_iter().map(|scheme| Arc::new(scheme) as Arc<_>).collect();
    Client::connect(ClientConfig { identity, schemes, ..node.config(READER) }).await.unwrap()
}

/// Signs with the key of somebody else than it says.
#[derive(Debug)]
struct Impostor(PluginSigner, Origin);

impl SchemeSigner for Impostor {
    fn signature_type(&self) -> SignatureType {
        self.0.signature_type()
    }

    fn origin(&self) -> Origin {
        self.1
    }

    fn sign(&self, id: BatchId) -> Result<Vec<u8>, SignatureFault> {
        self.0.sign(id)
    }
}

pub(crate) async fn grant(node: &Node, at: StreamPartition, origin: Origin) {
    let right = mainstem_client::PermissionAssignment {
        user: Some(origin.account()),
        permissions: vec![mainstem_model::Right::Publish],
        until: None,
    };
    node.client(OWNER).await.grant_permissions(at.stream, &[right]).await.unwrap();
}

/// The code that publishing one event is refused with, if it is.
async fn publish(client: &Client, at: StreamPartition) -> Result<(), Option<Code>> {
    publish_or_hear(client, at).await.map_err(|error| error.code)
}

/// What publishing one event is refused with, if it is. Waits until the node's view has the right.
async fn publish_or_hear(client: &Client, at: StreamPartition) -> Result<(), ClientError> {
    loop {
        let event = NewEvent::binary(now_ms(), vec![7].into());
        let sent = client.publisher(at).unwrap().publish(event).await;
        let outcome = match sent {
            Ok(receipt) => receipt.await.map(drop),
            Err(error) => Err(error),
        };
        match outcome {
            // A publisher that was refused stays so; the next one asks anew.
            Err(error) if matches!(error.code, Some(Code::MissingPermission | Code::StreamNotFound)) => {}
            outcome => return outcome,
        }
    }
}

/// A refusal that names the type, and both ways to have the node or the reader know it.
fn names_the_type_and_its_remedies(refused: &ClientError) {
    assert_eq!(refused.code, Some(Code::UnknownSignatureType));
    for part in ["signature type 17", "mainstem plugin install FILE", "mainstem plugin enable NAME"] {
        assert!(refused.message.contains(part), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_signed_by_a_plugins_type_is_taken_in_and_verified_by_who_has_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let installed = plugin_command(folder.path(), &["install", module("ed25519").to_str().unwrap()]);
    assert!(installed.contains("granted  crypto"), "{installed}");
    let node = Node::start(folder.path());
    let at = public_stream(&node.client(OWNER).await).await;
    let ed25519 = plugin("ed25519");
    let signer = PluginSigner::new(ed25519.clone(), vec![9; 32]).unwrap();
    let origin = signer.origin();
    grant(&node, at, origin).await;
    let publisher = connect(&node, Identity::Scheme(Arc::new(signer.clone())), Some(&ed25519)).await;
    publish(&publisher, at).await.unwrap();

    let reader = connect(&node, Identity::None, Some(&ed25519)).await;
    let mut events = reader.subscribe(SubscribeOptions::new(at).start(Start::From(0))).await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    assert_eq!(event.origin(), origin);

    // Who has not the plugin cannot tell whose it is, so it is not told.
    let without = connect(&node, Identity::None, None).await;
    let mut events = without.subscribe(SubscribeOptions::new(at).start(Start::From(0))).await.unwrap();
    let refused = events.next().await.unwrap().unwrap_err();
    names_the_type_and_its_remedies(&refused);
    // What is behind it is read all the same.
    publish(&node.client(OWNER).await, at).await.unwrap();
    let behind = events.next().await.unwrap().unwrap();
    assert_eq!(behind.origin().address(), Some(SecretKey::from_hex(OWNER).unwrap().address()));

    // Another's name, with a right and a signature of one's own.
    let other = PluginSigner::new(ed25519.clone(), vec![8; 32]).unwrap();
    let impostor = connect(&node, Identity::Scheme(Arc::new(Impostor(other, origin))), Some(&ed25519)).await;
    assert_eq!(publish(&impostor, at).await, Err(Some(Code::InvalidSignature)));
    let listed = plugin_command(folder.path(), &["list"]);
    assert!(listed.contains("called"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_plugin_a_node_refuses_the_type_by_its_number_and_with_it_again_serves_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    plugin_command(folder.path(), &["install", module("ed25519").to_str().unwrap()]);
    let ed25519 = plugin("ed25519");
    let signer = PluginSigner::new(ed25519.clone(), vec![9; 32]).unwrap();
    let mut node = Node::start(folder.path());
    let at = public_stream(&node.client(OWNER).await).await;
    grant(&node, at, signer.origin()).await;
    let identity = Identity::Scheme(Arc::new(signer));
    publish(&connect(&node, identity.clone(), Some(&ed25519)).await, at).await.unwrap();
    node.kill();

    plugin_command(folder.path(), &["disable", "ed25519"]);
    let mut node = Node::start(folder.path());
    let publisher = connect(&node, identity.clone(), Some(&ed25519)).await;
    names_the_type_and_its_remedies(&publish_or_hear(&publisher, at).await.unwrap_err());
    // Wallets go on.
    let owner = node.client(OWNER).await;
    assert_eq!(owner.address(), Some(SecretKey::from_hex(OWNER).unwrap().address()));
    publish(&owner, at).await.unwrap();
    node.kill();

    plugin_command(folder.path(), &["enable", "ed25519"]);
    let node = Node::start(folder.path());
    publish(&connect(&node, identity, Some(&ed25519)).await, at).await.unwrap();
    let reader = connect(&node, Identity::None, Some(&ed25519)).await;
    let mut events = reader.subscribe(SubscribeOptions::new(at).start(Start::From(0))).await.unwrap();
    for _ in 0..3 {
        events.next().await.unwrap().unwrap();
    }
}

#[test]
fn a_plugin_takes_the_place_of_one_of_its_name_and_not_of_one_with_its_claim() {
    let folder = tempfile::tempdir().unwrap();
    let module = fs::read(module("ed25519")).unwrap();
    let (_, mut manifest) = mainstem_plugin_host::inspect(&module).unwrap();
    manifest.version = "0.2.0".into();
    let write = |manifest: &_| {
        let path = folder.path().join("plugin.wasm");
        fs::write(&path, mainstem_plugin_build::attach(&module, manifest).unwrap()).unwrap();
        path
    };
    plugin_command(folder.path(), &["install", self::module("ed25519").to_str().unwrap()]);
    plugin_command(folder.path(), &["install", write(&manifest).to_str().unwrap()]);
    let listed = plugin_command(folder.path(), &["list"]);
    let on: Vec<_> = listed.lines().filter(|line| line.contains(" yes ")).collect();
    assert!(on.len() == 1 && on[0].contains("0.2.0"), "{listed}");

    // Another type that would speak for the same origins.
    manifest.name = "other".into();
    manifest.claim = mainstem_plugin_host::Claim::Signature(mainstem_plugin_host::SignatureClaim {
        signature_type: 200,
        origin_types: vec![17],
        signs: true,
    });
    let mut command = Node::program();
    let command =
        command.arg("--data-dir").arg(folder.path()).args(["plugin", "install"]).arg(write(&manifest));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("origin type 17"), "{said}");
}

#[test]
fn a_plugin_that_is_none_or_asks_for_what_is_not_granted_is_not_installed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| told(folder.path(), args);
    let none = folder.path().join("none.wasm");
    fs::write(&none, b"no module").unwrap();
    let (code, said) = run(&["install", none.to_str().unwrap()]);
    assert_eq!(code, 65, "{said}");
    assert!(said.contains("no WebAssembly module"), "{said}");
    let (code, said) = run(&["install", folder.path().join("nowhere").to_str().unwrap()]);
    assert_eq!(code, 74, "{said}");
    let (code, said) = run(&["enable", "nobody"]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("no plugin is called \"nobody\""), "{said}");
    let (code, said) = run(&["new", "Not-A-Name", "--kind", "signature"]);
    assert_eq!(code, 64, "{said}");
    let (code, said) = run(&["new", "one", "--kind", "signature", "--lang", "assemblyscript"]);
    assert!(code == 64 && said.contains("operators alone"), "{code} {said}");
}

#[test]
fn the_template_in_assemblyscript_is_the_operator_of_this_repository_by_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("louder");
    let args = ["new", made.to_str().unwrap(), "--kind", "operator", "--lang", "assemblyscript"];
    let said = plugin_command(folder.path(), &args);
    assert!(said.contains("npm run build"), "{said}");
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/scale-as");
    let read = |folder: &Path, file: &str| fs::read_to_string(folder.join(file)).unwrap();
    for file in ["assembly/index.ts", "assembly/reader.ts", "assembly/reply.ts"] {
        assert_eq!(read(&made, file), read(&ours, file), "{file}");
    }
    assert_eq!(read(&made, "assembly/name.ts").replace("louder", "scale"), read(&ours, "assembly/name.ts"));
    let package =
        |folder: &Path| -> serde_json::Value { serde_json::from_str(&read(folder, "package.json")).unwrap() };
    let (made_by, ours_by) = (package(&made), package(&ours));
    assert_eq!(made_by["devDependencies"], ours_by["devDependencies"]);
    let build = |package: &serde_json::Value| package["scripts"]["build"].as_str().unwrap().to_owned();
    assert!(build(&made_by).starts_with(&build(&ours_by)), "{}", build(&made_by));
    let manifest = mainstem_plugin_build::parse(&read(&made, "plugin.toml")).unwrap();
    assert_eq!(manifest.name, "louder");
}

/// A module with a section more that says nothing, of so many bytes.
fn longer(mut module: Vec<u8>, bytes: usize) -> Vec<u8> {
    // A section of no kind, its length in digits of 7 bits, and a name of no letters.
    module.push(0);
    let mut length = bytes;
    while length > 0x7f {
        module.push(length as u8 | 0x80);
        length >>= 7;
    }
    module.push(length as u8);
    module.resize(module.len() + bytes, 0);
    module
}

#[test]
fn a_module_is_checked_and_installed_within_the_bounds_of_the_nodes_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let bytes = fs::read(module("ed25519")).unwrap();
    write("small.wasm", &bytes);
    write("large.wasm", &longer(bytes, Config::default().module_bytes_max));
    // A busy machine is no fault of the plugin.
    let raised =
        "[plugins]\nmodule_bytes_max = 16777216\ndeadline_ms_default = 10000\ndeadline_ms_max = 10000\n";
    write("raised.toml", raised.as_bytes());
    write("lowered.toml", b"[plugins]\nmodule_bytes_max = 1000\n");
    for command in ["check", "install"] {
        let run = |args: &[&str]| told(folder.path(), &[&[command][..], args].concat());
        let lowered = ["small.wasm", "--config", "lowered.toml"];
        for (args, bound) in [(&["large.wasm"][..], "8388608"), (&lowered[..], "1000")] {
            let (code, said) = run(args);
            assert_eq!(code, 65, "{said}");
            assert!(said.contains(&format!("more than plugins.module_bytes_max, {bound}")), "{said}");
        }
        let (code, said) = run(&["large.wasm", "--config", "raised.toml"]);
        assert_eq!(code, 0, "{said}");
        let (code, said) = run(&["small.wasm", "--config", "nowhere.toml"]);
        assert_eq!(code, 74, "{said}");
    }
    // The one that `mainstem node` finds by itself.
    write("mainstem.toml", b"[plugins]\nmodule_bytes_max = 1000\n");
    let (code, said) = told(folder.path(), &["install", "small.wasm"]);
    assert_eq!(code, 65, "{said}");
}

#[test]
fn with_a_nodes_configuration_a_plugin_is_installed_for_that_node() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.toml");
    fs::write(&config, "plugins_dir = \"of-the-node\"\n").unwrap();
    let mut command = Node::program();
    command.env_remove("MAINSTEM_DATA_DIR").args(["plugin", "install"]).arg(module("ed25519"));
    assert!(command.arg("--config").arg(&config).output().unwrap().status.success());
    // Taken from the folder of the file.
    assert!(fs::read_dir(folder.path().join("of-the-node")).unwrap().count() > 0);
}

#[test]
fn a_module_that_is_refused_is_told_with_its_file_its_name_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (_, manifest) = mainstem_plugin_host::inspect(&fs::read(module("ed25519")).unwrap()).unwrap();
    // A type of functions, and the import env.abort of that type.
    let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0d\x01\x03env\x05abort\0\0";
    let module = mainstem_plugin_build::attach(module, &manifest).unwrap();
    fs::write(folder.path().join("foreign.wasm"), module).unwrap();
    fs::write(folder.path().join("none.wasm"), b"no module").unwrap();
    for command in ["check", "install"] {
        let (code, said) = told(folder.path(), &[command, "foreign.wasm"]);
        assert_eq!(code, 65, "{said}");
        assert!(said.contains("plugin ed25519 in foreign.wasm cannot be loaded: "), "{said}");
        assert!(said.contains("imports env.abort"), "{said}");
        let (code, said) = told(folder.path(), &[command, "none.wasm"]);
        assert_eq!(code, 65, "{said}");
        assert!(said.contains("none.wasm cannot be loaded: this is no WebAssembly module"), "{said}");
    }
}

#[test]
fn a_module_of_another_compiler_is_built_with_the_manifest_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    let described = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/scale-as/plugin.toml");
    let text = fs::read_to_string(described).unwrap();
    let newer = text.replace("version = \"0.1.0\"", "version = \"0.2.0\"");
    assert_ne!(text, newer);
    fs::write(folder.path().join("plugin.toml"), newer).unwrap();
    // It has a manifest, which another one takes the place of.
    plugin_command(folder.path(), &["build", at, "--module", module("scale-as").to_str().unwrap()]);
    let built = folder.path().join("scale.wasm");
    let (_, manifest) = mainstem_plugin_host::inspect(&fs::read(&built).unwrap()).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("scale", "0.2.0"));
    plugin_command(folder.path(), &["check", built.to_str().unwrap()]);

    let run = |args: &[&str]| {
        let mut command = Node::program();
        let output = command.args(["plugin", "build", at]).args(args).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&["--module", folder.path().join("nowhere").to_str().unwrap()]);
    assert!(code == 74 && said.contains("nowhere"), "{code} {said}");
    let (code, said) = run(&["--module", folder.path().join("plugin.toml").to_str().unwrap()]);
    assert!(code == 65 && said.contains("no WebAssembly"), "{code} {said}");
    let (code, said) = run(&[]);
    assert!(code == 64 && said.contains("--module"), "{code} {said}");
}
