//! Small plugins in WebAssembly's text format, for tests.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_abi::{
    ABI, Capability, Claim, Limits, Manifest, SECTION, SignatureClaim,
    plugin_capnp::{host_request, reply},
    write,
};
use mainstem_plugin_host::{Compiler, Config, Grants, Host, Plugin, SignedItem};

/// Where a guest's data lies.
pub const DATA: u32 = 4_096;

/// A module whose parts can each be another one.
pub struct Guest {
    pub manifest: Manifest,
    /// What stands before everything else.
    pub imports: String,
    pub memory: String,
    /// At [`DATA`].
    pub data: Vec<u8>,
    /// What `mainstem_abi` gives.
    pub abi: u32,
    /// Bodies of functions. `$top` is where free memory begins.
    pub alloc: String,
    pub free: String,
    pub call: String,
    /// What stands behind everything else.
    pub more: String,
}

pub const BUMP: &str = "
    (global.set $at (global.get $top))
    (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get $len)) (i32.const 7)) (i32.const -8)))
    (block $fits
        (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get $len) (i32.const 65536)))) (i32.const -1))
            (then (return (i32.const 0)))))
    (global.get $at)";

/// With whatever it claims.
pub fn manifest() -> Manifest {
    Manifest {
        name: "guest".into(),
        version: "0.1.0".into(),
        description: "A guest of tests".into(),
        abi: ABI,
        abi_minor_least: 0,
        claim: Claim::Signature(SignatureClaim {
            signature_type: 200,
            origin_types: vec![200, 1],
            signs: true,
        }),
        // All that a signature type may ask for: blobs and HTTP it may not.
        capabilities: vec![
            Capability::Crypto,
            Capability::Clock,
            Capability::Random,
            Capability::Log,
            Capability::Chain,
        ],
        limits: Limits::default(),
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            manifest: manifest(),
            imports: r#"(import "mainstem" "host_call" (func $host (param i32 i32) (result i64)))"#.into(),
            memory: r#"(memory (export "memory") 2)"#.into(),
            data: Vec::new(),
            abi: ABI.to_u32(),
            alloc: BUMP.into(),
            free: String::new(),
            call: "unreachable".into(),
            more: String::new(),
        }
    }
}

impl Guest {
    /// It answers each call with this.
    pub fn answering(reply: &[u8]) -> Self {
        Self { call: place(DATA, reply.len()), data: reply.to_vec(), ..Self::default() }
    }

    /// It does this when called.
    pub fn doing(call: &str) -> Self {
        Self { call: call.into(), ..Self::default() }
    }

    /// It answers `sign` with one signature: the length of the host reply to a request in 8 bytes, and that reply.
    pub fn asking(request: &[u8]) -> Self {
        let room = 40 << 10;
        let answer = write::<reply::Owned>(room / 8 + 8, |reply| {
            reply.init_signatures(1).set(0, &vec![0; 16 << 10]);
        });
        let at = DATA as usize + answer.len() - (16 << 10);
        let request_at = DATA as usize + answer.len();
        let call = format!(
            "(local $reply i64)
            (local.set $reply (call $host (i32.const {request_at}) (i32.const {})))
            (i64.store (i32.const {at}) (i64.and (local.get $reply) (i64.const 0xffffffff)))
            (memory.copy (i32.const {}) (i32.wrap_i64 (i64.shr_u (local.get $reply) (i64.const 32)))
                (i32.wrap_i64 (local.get $reply)))
            {}",
            request.len(),
            at + 8,
            place(DATA, answer.len())
        );
        Self { call, data: [answer, request.to_vec()].concat(), ..Self::default() }
    }

    pub fn text(&self) -> String {
        let data: String = self.data.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let top = (DATA as usize + self.data.len()).next_multiple_of(8);
        let Self { imports, memory, abi, alloc, free, call, more, .. } = self;
        format!(
            r#"(module {imports} {memory}
            (global $top (mut i32) (i32.const {top})) (global $at (mut i32) (i32.const 0))
            (data (i32.const {DATA}) "{data}")
            (func (export "mainstem_abi") (result i32) (i32.const {abi}))
            (func $alloc (export "mainstem_alloc") (param $len i32) (result i32) {alloc})
            (func $free (export "mainstem_free") (param $ptr i32) (param $len i32) {free})
            (func $call (export "mainstem_call") (param $ptr i32) (param $len i32) (result i64) {call})
            {more})"#
        )
    }

    pub fn module(&self) -> Vec<u8> {
        with_section(&wat::parse_str(self.text()).unwrap(), &self.manifest.encode().unwrap())
    }

    pub fn load(&self) -> Plugin {
        self.load_in(&host())
    }

    pub fn load_in(&self, host: &Host) -> Plugin {
        host.load(&self.module(), all()).unwrap()
    }
}

/// A module with one more section that holds a manifest.
pub fn with_section(module: &[u8], manifest: &[u8]) -> Vec<u8> {
    let name = [&[u8::try_from(SECTION.len()).unwrap()], SECTION.as_bytes()].concat();
    [module, &[0], &leb(name.len() + manifest.len()), &name, manifest].concat()
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// What a call returns for a reply.
pub fn place(ptr: u32, len: usize) -> String {
    format!("(i64.const {})", (u64::from(ptr) << 32 | len as u64) as i64)
}

pub fn host() -> Host {
    with_config(Config::default())
}

pub fn with_config(config: Config) -> Host {
    Host::new(config, None, Compiler::InProcess).unwrap()
}

/// Everything.
pub fn all() -> Grants {
    Grants { capabilities: Capability::ALL.into(), origin_ethereum: true, ..Grants::default() }
}

/// A reply.
pub fn reply(fill: impl FnOnce(reply::Builder<'_>)) -> Vec<u8> {
    write::<reply::Owned>(64, fill)
}

/// A host request.
pub fn request(fill: impl FnOnce(host_request::Builder<'_>)) -> Vec<u8> {
    write::<host_request::Owned>(64, fill)
}

/// A reply with a verdict for each value.
pub fn verdicts(values: &[u16]) -> Vec<u8> {
    let mut bytes = reply(|reply| {
        let mut list = reply.init_verdicts(values.len() as u32);
        for index in 0..values.len() {
            list.set(index as u32, mainstem_plugin_abi::plugin_capnp::Verdict::Unavailable);
        }
    });
    let at = bytes.len() - (2 * values.len()).next_multiple_of(8);
    for (index, value) in values.iter().enumerate() {
        bytes[at + 2 * index..][..2].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// An item that no guest here looks at.
pub fn item() -> SignedItem<'static> {
    SignedItem {
        header: &[7; 203],
        batch_id: [8; 32],
        origin_type: 200,
        origin: &[9; 20],
        timestamp: 10,
        signature: &[11; 64],
    }
}
