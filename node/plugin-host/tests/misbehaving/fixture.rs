use crate::guest::{self, all, with_section};
use mainstem_plugin_abi::{
    Capability, Claim, ColumnClaim, ColumnType, EncryptionClaim, Limits, Manifest, OperatorClaim, Port,
    SignatureClaim, StorageClaim, Version,
};
use mainstem_plugin_host::{Config, Grants};
use std::{fs, path::Path, time::Duration};
use toml::{Table, Value};

/// An entry of `fixtures.toml`, whose head says what each key is.
pub struct Fixture<'a>(pub &'a Table);

impl Fixture<'_> {
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub fn file(&self) -> &str {
        self.text("file").unwrap()
    }

    pub fn kind(&self) -> &str {
        self.text("kind").unwrap()
    }

    /// Its calls in their order.
    pub fn calls(&self) -> Vec<String> {
        let mut calls = self.texts("calls").unwrap_or_else(|| {
            let default: &[&str] = match self.kind() {
                "signature" => &["verify:1"],
                "operator" => &["start", "on_batch"],
                other => panic!("{}: a fixture of kind {other} says what is called", self.file()),
            };
            default.iter().map(|&call| call.to_owned()).collect()
        });
        let last = calls.last().unwrap().clone();
        let repeat = self.0.get("repeat").and_then(Value::as_integer).unwrap_or(1);
        calls.extend((1..repeat).map(|_| last.clone()));
        calls
    }

    /// How each verdict, or each content that is opened, must be read.
    pub fn read_as(&self, call: &str) -> &str {
        if call.starts_with("open") {
            self.text("opened").unwrap_or("content")
        } else {
            self.text("verdict").unwrap_or("valid")
        }
    }

    /// With the capabilities that the node grants it, and a folder for its files.
    pub fn grants(&self, folder: &Path) -> Grants {
        let granted = self.texts("granted").map(|names| capabilities(&names).into_iter().collect());
        let files = self.flag("folder", true).then(|| folder.to_owned());
        Grants { capabilities: granted.unwrap_or(all().capabilities), files, ..all() }
    }

    pub fn module(&self, folder: &Path) -> Vec<u8> {
        let bytes = fs::read(folder.join(self.file())).unwrap();
        if self.file().ends_with(".bin") {
            return bytes;
        }
        let plain = wat::parse_bytes(&bytes).unwrap_or_else(|error| panic!("{error}")).into_owned();
        let right = self.manifest().encode().unwrap();
        match self.text("manifest").unwrap_or("right") {
            "none" => plain,
            "twice" => with_section(&with_section(&plain, &right), &right),
            "garbage" => with_section(&plain, &[255; 16]),
            "large" => with_section(&plain, &[0; 65_544]),
            "right" => with_section(&plain, &right),
            other => panic!("{other}"),
        }
    }

    /// How long a call of it may be.
    pub fn deadline(&self, config: &Config) -> Duration {
        let wished = self.limits().deadline_ms;
        let ms = if wished == 0 { config.deadline_ms_default } else { wished.min(config.deadline_ms_max) };
        Duration::from_millis(ms.into())
    }

    /// Bytes of memory that an instance of it may have.
    pub fn memory_bytes(&self, config: &Config) -> u64 {
        let wished = self.limits().memory_bytes;
        if wished == 0 { config.memory_bytes_default } else { wished.min(config.memory_bytes_max) }
    }

    fn texts(&self, name: &str) -> Option<Vec<String>> {
        let list = self.0.get(name)?.as_array()?;
        Some(list.iter().map(|value| value.as_str().unwrap().to_owned()).collect())
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    fn limits(&self) -> Limits {
        let limits = self.0.get("limits").and_then(Value::as_table).cloned().unwrap_or_default();
        let limit = |name: &str| limits.get(name).and_then(Value::as_integer).unwrap_or(0);
        Limits {
            memory_bytes: limit("memory_bytes") as u64,
            fuel: limit("fuel") as u64,
            deadline_ms: limit("deadline_ms") as u32,
        }
    }

    fn manifest(&self) -> Manifest {
        let least = self.0.get("abi_minor_least").and_then(Value::as_integer).unwrap_or(0);
        let asked = self.texts("capabilities").unwrap_or_else(|| match self.kind() {
            "signature" => vec!["crypto".into()],
            _ => Vec::new(),
        });
        Manifest {
            abi: Version::parse(self.text("abi").unwrap_or("1.0")).unwrap(),
            abi_minor_least: least as u16,
            claim: self.claim(),
            capabilities: capabilities(&asked),
            limits: self.limits(),
            ..guest::manifest()
        }
    }

    fn claim(&self) -> Claim {
        match self.kind() {
            "signature" => Claim::Signature(SignatureClaim {
                signature_type: 240,
                origin_types: vec![240],
                signs: self.flag("signs", false),
            }),
            "operator" => Claim::Operators(vec![counter()]),
            "encryption" => Claim::Encryption(EncryptionClaim {
                encryption_type: 240,
                key_bytes: 32,
                wraps: self.flag("wraps", true),
            }),
            "storage" => Claim::Storage(StorageClaim { scheme: "fixture".into(), parameters: Vec::new() }),
            other => panic!("{}: there is no kind {other}", self.file()),
        }
    }
}

fn counter() -> OperatorClaim {
    let columns = vec![ColumnClaim { name: "value".into(), column_type: ColumnType::Float64 }];
    let port = |name: &str| Port { name: name.into(), columns: columns.clone() };
    OperatorClaim {
        name: "counter".into(),
        description: String::new(),
        inputs: vec![port("in")],
        outputs: vec![port("out")],
        parameters: Vec::new(),
    }
}

fn capabilities(names: &[String]) -> Vec<Capability> {
    let named = |name: &String| Capability::ALL.into_iter().find(|it| it.name() == name).unwrap();
    names.iter().map(named).collect()
}
