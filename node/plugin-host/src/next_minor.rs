//! The ABI's next minor version, as far as it can be written today: what a side that has it would send to one that has not.
//!
//! A minor adds fields at the end of structs, so its writer's structs are longer, in words and in pointers, of every message at every
//! depth. This takes a message of today and writes it as such, with something in each new field. [`Newer`] says which sides write so in
//! the tests of this thread, and the messages go through the host and real modules.

use std::{borrow::Cow, cell::Cell};

/// What stands in a new word.
const NEW_WORD: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// A new text of 7 letters.
const NEW_TEXT: u64 = u64::from_le_bytes(*b"newer!!\0");

thread_local! {
    static NEWER: Cell<Option<Side>> = const { Cell::new(None) };
}

/// Who has the next minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Host,
    Plugin,
}

/// As long as it lives, what this side writes in this thread is of the next minor version.
#[derive(Debug)]
pub(crate) struct Newer;

impl Newer {
    pub(crate) fn new(side: Side) -> Self {
        NEWER.set(Some(side));
        Self
    }
}

impl Drop for Newer {
    fn drop(&mut self) {
        NEWER.set(None);
    }
}

/// A message as this side writes it: as it is, or as one of the next minor version.
pub(crate) fn written(by: Side, message: &[u8]) -> Cow<'_, [u8]> {
    if NEWER.get() != Some(by) {
        return Cow::Borrowed(message);
    }
    longer(message).map_or(Cow::Borrowed(message), Cow::Owned)
}

/// The same message with every struct a word and a pointer longer. Nothing if it is none.
pub(crate) fn longer(message: &[u8]) -> Option<Vec<u8>> {
    let (words, []) = message.as_chunks::<8>() else { return None };
    let from: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let mut copy = Copying { from, to: vec![0] };
    copy.pointer(0, 0)?;
    Some(copy.to.iter().flat_map(|word| word.to_le_bytes()).collect())
}

struct Copying {
    from: Vec<u64>,
    to: Vec<u64>,
}

/// Words of values, and pointers behind them.
#[derive(Clone, Copy)]
struct Shape {
    data: usize,
    pointers: usize,
}

impl Shape {
    fn of(pointer: u64) -> Self {
        Self { data: (pointer >> 32) as usize & 0xffff, pointers: (pointer >> 48) as usize }
    }

    fn longer(self) -> Self {
        Self { data: self.data + 1, pointers: self.pointers + 1 }
    }

    fn words(self) -> usize {
        self.data + self.pointers
    }

    fn bits(self) -> u64 {
        (self.data as u64) << 32 | (self.pointers as u64) << 48
    }
}

impl Copying {
    /// Copies what the pointer in a word points to, and has another word point to the copy.
    fn pointer(&mut self, at: usize, to: usize) -> Option<()> {
        let pointer = *self.from.get(at)?;
        if pointer == 0 {
            return Some(());
        }
        let offset = (pointer as u32).cast_signed() >> 2;
        let target = (at + 1).checked_add_signed(offset as isize)?;
        match pointer & 3 {
            0 => {
                let shape = Shape::of(pointer);
                let copy = self.room(shape.longer().words());
                self.to[to] = points(to, copy) | shape.longer().bits();
                self.structure(target, copy, shape)
            }
            1 => self.list(pointer, target, to),
            // Far pointers and capabilities are in no message of the ABI.
            _ => None,
        }
    }

    fn list(&mut self, pointer: u64, target: usize, to: usize) -> Option<()> {
        let (size, count) = (pointer >> 32 & 7, (pointer >> 35) as usize);
        let bits = [0, 1, 8, 16, 32, 64][..].get(size as usize);
        if let Some(bits) = bits {
            let words = (count * bits).div_ceil(64);
            let copy = self.to.len();
            self.to.extend_from_slice(self.from.get(target..target + words)?);
            self.to[to] = points(to, copy) | pointer >> 32 << 32 | 1;
            return Some(());
        }
        if size == 6 {
            let copy = self.room(count);
            self.to[to] = points(to, copy) | pointer >> 32 << 32 | 1;
            return (0..count).try_for_each(|index| self.pointer(target + index, copy + index));
        }
        let tag = *self.from.get(target)?;
        let (count, shape) = ((tag as u32 >> 2) as usize, Shape::of(tag));
        let words = count * shape.longer().words();
        let copy = self.room(1 + words);
        self.to[to] = points(to, copy) | (words as u64) << 35 | 7 << 32 | 1;
        self.to[copy] = u64::from(tag as u32) | shape.longer().bits();
        (0..count).try_for_each(|index| {
            let (from, to) = (index * shape.words(), index * shape.longer().words());
            self.structure(target + 1 + from, copy + 1 + to, shape)
        })
    }

    /// Copies a struct to where there is room for a longer one.
    fn structure(&mut self, from: usize, to: usize, shape: Shape) -> Option<()> {
        self.to[to..to + shape.data].copy_from_slice(self.from.get(from..from + shape.data)?);
        self.to[to + shape.data] = NEW_WORD;
        let pointers = to + shape.data + 1;
        for index in 0..shape.pointers {
            self.pointer(from + shape.data + index, pointers + index)?;
        }
        let text = self.to.len();
        self.to.push(NEW_TEXT);
        self.to[pointers + shape.pointers] = points(pointers + shape.pointers, text) | 8 << 35 | 2 << 32 | 1;
        Some(())
    }

    fn room(&mut self, words: usize) -> usize {
        let at = self.to.len();
        self.to.resize(at + words, 0);
        at
    }
}

/// The offset of a pointer, which stands before what it points to.
fn points(from: usize, to: usize) -> u64 {
    u64::from(((to - from - 1) as u32) << 2)
}

mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::{Capability, Compiler, Config, Grants, Host, conformance};
    use mainstem_plugin_abi::{ABI, Manifest, Version, plugin_capnp::request, read, write};
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    /// Modules of this repository by the version that they are built against. `tools/plugins.sh` has built them: with the SDK, from C and
    /// from AssemblyScript.
    const MODULES: [(u16, &[&str]); 2] = [
        (0, &["p256-c", "scale-as"]),
        (
            1,
            &[
                "aes-256-gcm",
                "ed25519",
                "erc1271",
                "ewma-anomaly",
                "filter",
                "memory",
                "ml-dsa-65",
                "secp256k1",
                "segments",
                "window-aggregate",
                "x509",
                "xchacha20poly1305",
            ],
        ),
    ];

    /// One that starts with a server alone: here its manifest is read.
    const BESIDE: &str = "s3";

    fn module(name: &str) -> Vec<u8> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
        let path = target.join("plugins").join(format!("{name}.wasm"));
        let module = fs::read(&path);
        module.unwrap_or_else(|_| panic!("{} is missing: run tools/plugins.sh", path.display()))
    }

    /// What each module does not keep to when one side is newer.
    fn broken(side: Side) -> Vec<String> {
        let mut broken = Vec::new();
        for (minor, names) in MODULES {
            for name in names {
                let folder = tempfile::tempdir().unwrap();
                let granted = BTreeSet::from([Capability::Crypto, Capability::Blob, Capability::Chain]);
                let files = Some(folder.path().join("files"));
                let grants = Grants { capabilities: granted, files, ..Grants::default() };
                let host = Host::new(Config::default(), None, Compiler::InProcess).unwrap();
                let plugin = host.load(&module(name), grants).unwrap();
                assert_eq!(plugin.manifest().abi, Version { major: ABI.major, minor }, "{name}");
                let _newer = Newer::new(side);
                let findings = conformance(&plugin);
                assert!(findings.len() > 5, "{name}: {findings:?}");
                let wrong = findings.into_iter().filter_map(|finding| Some((finding.check, finding.fault?)));
                broken.extend(wrong.map(|(check, fault)| format!("{name}: {check}: {fault}")));
            }
        }
        broken
    }

    #[test]
    fn modules_of_both_minors_keep_to_the_abi_at_a_host_of_the_next_one() {
        assert_eq!(broken(Side::Host), [""; 0]);
    }

    #[test]
    fn modules_that_answer_as_of_the_next_minor_keep_to_the_abi_at_this_host() {
        assert_eq!(broken(Side::Plugin), [""; 0]);
    }

    #[test]
    fn a_manifest_of_the_next_minor_is_read_as_one_of_this() {
        for name in MODULES.iter().flat_map(|(_, names)| *names).chain(&[BESIDE]) {
            let (_, manifest) = crate::inspect(&module(name)).unwrap();
            let newer = longer(&manifest.encode().unwrap()).unwrap();
            assert_eq!(Manifest::decode(&newer), Ok(manifest), "{name}");
        }
    }

    #[test]
    fn a_message_of_the_next_minor_is_longer_and_says_the_same() {
        let message = write::<request::Owned>(64, |request| {
            let mut list = request.init_verify(2);
            for index in 0..2 {
                let mut item = list.reborrow().get(index);
                item.set_header(&[index as u8; 203]);
                item.set_timestamp(-5);
            }
        });
        let newer = longer(&message).unwrap();
        // Request, and two items: a word and a pointer each, and a text.
        assert_eq!(newer.len(), message.len() + 8 * 3 * (1 + 2));
        let newer = read(&newer).unwrap();
        let request::Verify(items) = newer.get_root::<request::Reader<'_>>().unwrap().which().unwrap() else {
            panic!("another request");
        };
        let items = items.unwrap();
        assert_eq!(items.len(), 2);
        for index in 0..2 {
            let item = items.get(index);
            assert_eq!((item.get_header().unwrap(), item.get_timestamp()), (&[index as u8; 203][..], -5));
        }
        assert_eq!(longer(&[0xff; 64]), None);
    }
}
