//! Work with a right result, for each kind of plugin but storages: most of what conformance tries is noise, which is refused early. What
//! operators make of their rows is not looked at here.

use anyhow::{Context, bail, ensure};
use mainstem_crypto::{Address, SecretKey, sha256};
use mainstem_model::{Plain, Sealed};
use mainstem_plugin_host::{
    Claim, Column, ContractAnswer, ContractCall, ContractReads, Event, NoAnswer, Plugin, Rows, SignedItem,
    Values, Verdict, inspect,
};
use std::{collections::BTreeMap, time::Instant};

/// Batch ids that are signed and proven in a round.
const SIGNED: u64 = 8;
/// Bytes of a header.
const HEADER_BYTES: usize = 203;
/// Contents that are sealed and opened in a round, and bytes of each.
const CONTENTS: u64 = 64;
const CONTENT_BYTES: usize = 1_024;
/// Rows of one batch, and the time of the first, ms since 1970.
const ROWS: usize = 1_024;
const START_MS: i64 = 1_800_000_000_000;
/// Whose signatures are made.
const KEY: [u8; 32] = [9; 32];
/// The contract that is there.
const CONTRACT: Address = Address([0xc0; 20]);
/// What a contract says for yes (ERC-1271), in a word.
const YES: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

/// A key of P-256 (SEC1, uncompressed), and its signature (r, s) over [`SIGNED_ONCE`]'s batch id.
const P256: &str = concat!(
    "047135fa4fd93a09dce98bbf681b4bfcf50e7c0d6354e62afb0bff2a34296178",
    "65ed4c1f02ddb9023ee56a557e515d6a9dc66c11f220960de594334df5887767",
    "24e1f2077ebe6621660e92bfba474db94d3ff834439a5b10d924e8abcf1c8659",
    "39fb18bf5bfe9115b135052ebc0a69d8ee9c030583d257c34c94e176e3f04ce2",
    "88"
);
const P256_KEY_BYTES: usize = 65;

/// A chain of certificates that OpenSSL made, its root, and the device's signature over [`SIGNED_ONCE`]'s batch id.
const X509_ROOT: &[u8] = include_bytes!("../../../../../plugins/x509/tests/vectors/openssl-root.pem");
const X509_SUB: &[u8] = include_bytes!("../../../../../plugins/x509/tests/vectors/openssl-sub.der");
const X509_LEAF: &[u8] = include_bytes!("../../../../../plugins/x509/tests/vectors/openssl-leaf.der");
const X509_SIGNATURE: &[u8] = include_bytes!("../../../../../plugins/x509/tests/vectors/openssl-leaf.sig");
/// As OpenSSL says of the device's key.
const X509_ORIGIN: &str = "3cc75fb9a7c2a1aa0d7ba77a4bfe2b35730e77ac9328fecdaf634c252de40cc5";

/// What stands for a header where signatures are made elsewhere.
const SIGNED_ONCE: &[u8] = b"abc";

/// A plugin, and what it is given to do.
pub(super) struct Worker {
    pub(super) plugin: Plugin,
    work: Work,
}

enum Work {
    /// Signs with this key, and proves that.
    Sign(Vec<u8>),
    /// Proves what was signed elsewhere.
    Prove(Signed),
    /// Seals and opens, and wraps keys if it can.
    Seal,
    /// Takes rows.
    Rows,
}

/// A signature, and what it is over.
struct Signed {
    header: Vec<u8>,
    origin_type: u8,
    origin: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    fn item(&self) -> SignedItem<'_> {
        SignedItem {
            header: &self.header,
            batch_id: sha256(&self.header),
            origin_type: self.origin_type,
            origin: &self.origin,
            timestamp: START_MS,
            signature: &self.signature,
        }
    }
}

impl Worker {
    /// One of a plugin, whatever its kind is but a storage.
    ///
    /// # Errors
    /// There is no work for such a plugin.
    pub(super) fn new(plugin: Plugin) -> anyhow::Result<Self> {
        let manifest = plugin.manifest();
        let work = match &manifest.claim {
            Claim::Signature(claim) if claim.signs => Work::Sign(match manifest.name.as_str() {
                "erc1271" => [&CONTRACT.0[..], &KEY].concat(),
                _ => KEY.to_vec(),
            }),
            Claim::Signature(_) => Work::Prove(match manifest.name.as_str() {
                "p256" => by_p256()?,
                "x509" => by_x509()?,
                name => bail!("the soak has no signature for {name}, which makes none: add one to it"),
            }),
            Claim::Encryption(_) => Work::Seal,
            Claim::Operators(_) => Work::Rows,
            Claim::Storage(_) => bail!("{plugin:?} keeps records, which is work of another kind"),
        };
        Ok(Self { plugin, work })
    }

    /// The kind of its plugin.
    pub(super) const fn kind(&self) -> &'static str {
        match self.work {
            Work::Sign(_) | Work::Prove(_) => "signatures",
            Work::Seal => "encryption",
            Work::Rows => "operators",
        }
    }

    /// Does the work of a round.
    ///
    /// # Errors
    /// A call fails, or its result is not the right one.
    pub(super) fn work(&self, round: u64) -> anyhow::Result<()> {
        match &self.work {
            Work::Sign(key) => self.prove(&self.sign(key, round)?),
            Work::Prove(signed) => self.prove(std::slice::from_ref(signed)),
            Work::Seal => self.seal(round),
            Work::Rows => self.take_rows(),
        }
    }

    fn sign(&self, key: &[u8], round: u64) -> anyhow::Result<Vec<Signed>> {
        let origin = self.plugin.origin(key)?;
        let sign = |number: u64| {
            let mut header = [round.to_le_bytes(), number.to_le_bytes()].concat();
            header.resize(HEADER_BYTES, 0);
            let mut signatures = self.plugin.sign(key, &[sha256(&header)])?;
            let signature = signatures.pop().context("there is no signature")?;
            anyhow::Ok(Signed {
                header,
                origin_type: origin.kind(),
                origin: origin.value().to_vec(),
                signature,
            })
        };
        (0..SIGNED).map(sign).collect()
    }

    fn prove(&self, signed: &[Signed]) -> anyhow::Result<()> {
        let items: Vec<_> = signed.iter().map(Signed::item).collect();
        let verdicts = self.plugin.verify(&items)?;
        match verdicts.iter().find(|verdict| **verdict != Verdict::Valid) {
            None => Ok(()),
            Some(other) => bail!("a signature that holds is said to be {other:?}"),
        }
    }

    fn seal(&self, round: u64) -> anyhow::Result<()> {
        let Claim::Encryption(claim) = &self.plugin.manifest().claim else { return Ok(()) };
        let key = vec![7_u8; usize::from(claim.key_bytes)];
        let contents: Vec<_> = (0..CONTENTS).map(|number| vec![number as u8; CONTENT_BYTES]).collect();
        let nonce = |number: u64| sha256(&[round.to_le_bytes(), number.to_le_bytes()].concat());
        let plain = |(number, content)| Plain { nonce: nonce(number), associated: b"soak", content };
        let plain: Vec<_> = (0..).zip(contents.iter().map(Vec::as_slice)).map(plain).collect();
        let sealed = self.plugin.seal(&key, &plain)?;
        let whole: Vec<_> = sealed.iter().map(|sealed| Sealed { associated: b"soak", sealed }).collect();
        let opened = self.plugin.open(&key, &whole)?;
        ensure!(opened.len() == contents.len(), "{} contents open of {CONTENTS}", opened.len());
        let same = opened.iter().zip(&contents).all(|(opened, content)| opened.as_ref() == Ok(content));
        ensure!(same, "what was sealed does not open again");
        if claim.wraps {
            let recipient = SecretKey::from_bytes(&KEY)?.public_key().to_sec1();
            for wrapped in self.plugin.wrap(&key, &[&recipient[..]], &nonce(0))? {
                ensure!(*self.plugin.unwrap(&KEY, &wrapped)? == key, "a key that was wrapped is another one");
            }
        }
        Ok(())
    }

    fn take_rows(&self) -> anyhow::Result<()> {
        let Claim::Operators(claims) = &self.plugin.manifest().claim else { return Ok(()) };
        for claim in claims {
            let mut operator = self.plugin.operator(&claim.name, &BTreeMap::new())?;
            for (number, port) in (0..).zip(&claim.inputs) {
                let types: Vec<_> = port.columns.iter().map(|column| column.column_type.name()).collect();
                operator.on_batch(number, &rows(&types))?;
            }
            let end = START_MS + ROWS as i64;
            operator.on_watermark(end)?;
            ensure!(operator.snapshot()? == operator.snapshot()?, "a second snapshot is another one");
        }
        Ok(())
    }
}

/// A chain with one contract, which takes every signature.
#[derive(Debug)]
pub(super) struct Contracts;

impl ContractReads for Contracts {
    fn read(&self, call: &ContractCall, _: Instant) -> Result<ContractAnswer, NoAnswer> {
        let is_there = call.to == CONTRACT;
        let output = if is_there { [&YES[..], &[0; 28]].concat() } else { Vec::new() };
        Ok(ContractAnswer { output, reverted: false, block_number: 1, block_ms: call.at_ms })
    }
}

/// A module as it is loaded: with so much time for a call, and the roots of its signature if it is one that trusts some.
///
/// # Errors
/// It is no plugin, or has no place for roots.
pub(super) fn prepared(name: &str, mut module: Vec<u8>, deadline_ms: u32) -> anyhow::Result<Vec<u8>> {
    if name == "x509" {
        module = mainstem_plugin_build::configure(&module, X509_ROOT)?;
    }
    let (_, mut manifest) = inspect(&module)?;
    manifest.limits.deadline_ms = deadline_ms;
    Ok(mainstem_plugin_build::attach(&module, &manifest)?)
}

fn by_p256() -> anyhow::Result<Signed> {
    let signature = hex::decode(P256)?;
    let key = signature.get(..P256_KEY_BYTES).context("the key is too short")?;
    let origin = sha256(key).to_vec();
    Ok(Signed { header: SIGNED_ONCE.to_vec(), origin_type: 18, origin, signature })
}

fn by_x509() -> anyhow::Result<Signed> {
    let mut signature = vec![2_u8];
    for certificate in [X509_LEAF, X509_SUB] {
        signature.extend(u16::try_from(certificate.len())?.to_be_bytes());
        signature.extend(certificate);
    }
    // ECDSA.
    signature.push(1);
    signature.extend(X509_SIGNATURE);
    Ok(Signed { header: SIGNED_ONCE.to_vec(), origin_type: 20, origin: hex::decode(X509_ORIGIN)?, signature })
}

/// Of columns of these types; whole events without any.
fn rows(types: &[&str]) -> Rows {
    let timestamps = (0..ROWS as i64).map(|row| START_MS + row).collect();
    let column = |of: &&str| match *of {
        "int64" => Column::Int64((0..ROWS as i64).collect()),
        "float64" => Column::Float64((0..ROWS).map(|row| row as f64 / 8.0 - 64.0).collect()),
        "text" => Column::Text((0..ROWS).map(|row| row.to_string()).collect()),
        _ => Column::Data((0..ROWS).map(|row| vec![row as u8; 9]).collect()),
    };
    let event = |row: usize| Event { content_type: 2, content: vec![row as u8; 64] };
    let values = if types.is_empty() {
        Values::Events((0..ROWS).map(event).collect())
    } else {
        Values::Columns(types.iter().map(column).collect())
    };
    Rows { timestamps, values }
}
