//! A chain to ask, a wallet to sign with, and contracts in a few bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, unreachable_pub, reason = "every test file uses another part of it")]

use k256::ecdsa::SigningKey;
use mainstem_devchain::{Config, DevChain, RpcError, dev_accounts};
use revm::primitives::{hex, keccak256};
use serde_json::{Value, json};

pub const NOW_S: u64 = 1_760_000_000;

/// Returns nothing; adds one to slot 0 and logs the new value with the two words of its input as topics.
pub const COUNTER: &str = "5f5460010180 5f55 5f52 602035 5f35 6020 5f a2 6020 5f f3";
/// Reverts with its input.
pub const REVERTER: &str = "36 5f 5f 37 36 5f fd";
/// Stores the first word of its input in slot 0.
pub const SETTER: &str = "5f35 5f 55 00";
/// Spends about 260,000 gas.
pub const BURNER: &str = "612710 5b 6001 90 03 80 6003 57 00";
/// Calls the address in its input with all the gas it may pass on; reverts if that fails.
pub const FORWARDER: &str = "5f5f5f5f5f 5f35 5a f1 15 600e 57 00 5b 5f5f fd";
/// Returns the time.
pub const TIME: &str = "42 5f52 6020 5f f3";
/// Returns the hash of the block whose number is the input.
pub const BLOCK_HASH: &str = "5f35 40 5f52 6020 5f f3";
/// Returns slot 0.
pub const GETTER: &str = "5f54 5f52 6020 5f f3";

pub struct Bench {
    pub chain: DevChain,
    pub now_s: u64,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        Self { chain: DevChain::new(config), now_s: NOW_S }
    }

    pub fn rpc(&mut self, method: &str, params: Value) -> Result<Value, RpcError> {
        self.chain.handle(method, &params, self.now_s)
    }

    pub fn ok(&mut self, method: &str, params: Value) -> Value {
        let shown = params.to_string();
        self.rpc(method, params).unwrap_or_else(|error| panic!("{method} {shown}: {error}"))
    }

    pub fn err(&mut self, method: &str, params: Value) -> RpcError {
        let shown = params.to_string();
        match self.rpc(method, params) {
            Ok(value) => panic!("{method} {shown} gave {value}"),
            Err(error) => error,
        }
    }

    pub fn nonce(&mut self, wallet: &Wallet) -> u64 {
        number(&self.ok("eth_getTransactionCount", json!([wallet.address, "latest"])))
    }

    pub fn balance(&mut self, address: &str) -> u128 {
        number_u128(&self.ok("eth_getBalance", json!([address, "latest"])))
    }

    /// Signs with the next nonce, sends, and gives the receipt.
    pub fn send(&mut self, wallet: &Wallet, tx: Tx) -> Value {
        let raw = wallet.sign(&Tx { nonce: self.nonce(wallet), ..tx });
        let hash = self.ok("eth_sendRawTransaction", json!([raw]));
        self.ok("eth_getTransactionReceipt", json!([hash]))
    }

    /// Deploys code and gives its address.
    pub fn deploy(&mut self, code: &str) -> String {
        let receipt = self
            .send(&Wallet::dev(0), Tx { to: None, input: init_code(code), gas: 1_000_000, ..Tx::default() });
        assert_eq!(receipt["status"], "0x1");
        receipt["contractAddress"].as_str().unwrap().to_owned()
    }

    /// Calls a contract with words as input, in a transaction of account 0.
    pub fn transact(&mut self, to: &str, words: &[u64]) -> Value {
        self.send(
            &Wallet::dev(0),
            Tx { to: Some(to.to_owned()), input: input(words), gas: 1_000_000, ..Tx::default() },
        )
    }

    pub fn head(&self) -> u64 {
        self.chain.head().0
    }
}

/// A transaction to be signed.
#[derive(Clone, Debug)]
pub struct Tx {
    pub kind: u8,
    pub chain_id: u64,
    pub nonce: u64,
    pub max_fee: u128,
    pub tip: u128,
    pub gas: u64,
    pub to: Option<String>,
    pub value: u128,
    pub input: Vec<u8>,
    /// Address and keys.
    pub access_list: Vec<(String, Vec<[u8; 32]>)>,
}

impl Default for Tx {
    fn default() -> Self {
        Self {
            kind: 2,
            chain_id: 31_337,
            nonce: 0,
            max_fee: 0,
            tip: 0,
            gas: 21_000,
            to: Some(dev_accounts()[9].address.to_owned()),
            value: 0,
            input: Vec::new(),
            access_list: Vec::new(),
        }
    }
}

pub struct Wallet {
    pub key: SigningKey,
    pub address: &'static str,
}

impl Wallet {
    pub fn dev(index: usize) -> Self {
        let account = dev_accounts()[index];
        let key = SigningKey::from_slice(&hex::decode(account.secret_key).unwrap()).unwrap();
        Self { key, address: account.address }
    }

    pub fn sign(&self, tx: &Tx) -> String {
        let (unsigned, kind) = fields(tx);
        let mut to_sign = unsigned.clone();
        if tx.kind == 0 {
            to_sign.extend([int(tx.chain_id.into()), int(0), int(0)]);
        }
        let payload = [kind.as_slice(), &list(&to_sign)].concat();
        let (signature, recovery) = self.key.sign_prehash_recoverable(keccak256(payload).as_slice()).unwrap();
        let (r, s) = signature.split_bytes();
        seal(tx, u64::from(recovery.is_y_odd()), &r, &s)
    }
}

/// A transaction with any signature.
pub fn seal(tx: &Tx, odd_y: u64, r: &[u8], s: &[u8]) -> String {
    let (mut items, kind) = fields(tx);
    let v = if tx.kind == 0 { tx.chain_id * 2 + 35 + odd_y } else { odd_y };
    items.extend([int(v.into()), trimmed(r), trimmed(s)]);
    hex::encode_prefixed([kind, list(&items)].concat())
}

fn fields(tx: &Tx) -> (Vec<Vec<u8>>, Vec<u8>) {
    let to = tx.to.as_ref().map(|to| hex::decode(to).unwrap()).unwrap_or_default();
    let mut items = Vec::new();
    if tx.kind > 0 {
        items.push(int(tx.chain_id.into()));
    }
    items.push(int(tx.nonce.into()));
    if tx.kind == 2 {
        items.push(int(tx.tip));
    }
    items.extend([int(tx.max_fee), int(tx.gas.into()), bytes(&to), int(tx.value), bytes(&tx.input)]);
    if tx.kind > 0 {
        let accesses: Vec<_> = tx
            .access_list
            .iter()
            .map(|(address, keys)| {
                let keys: Vec<_> = keys.iter().map(|key| bytes(key)).collect();
                list(&[bytes(&hex::decode(address).unwrap()), list(&keys)])
            })
            .collect();
        items.push(list(&accesses));
    }
    (items, if tx.kind > 0 { vec![tx.kind] } else { Vec::new() })
}

// A second, plain RLP encoder, so that the tests do not stand on the one under test.
pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
    prefixed(0xc0, &items.concat())
}

pub fn bytes(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() == 1 && bytes[0] < 0x80 { bytes.to_vec() } else { prefixed(0x80, bytes) }
}

pub fn int(value: u128) -> Vec<u8> {
    trimmed(&value.to_be_bytes())
}

fn trimmed(be: &[u8]) -> Vec<u8> {
    let zeros = be.iter().take_while(|byte| **byte == 0).count();
    bytes(&be[zeros..])
}

fn prefixed(base: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = match payload.len() {
        len @ 0..=55 => vec![base + len as u8],
        len @ 56..=0xff => vec![base + 56, len as u8],
        len @ 0x100..=0xffff => vec![base + 57, (len >> 8) as u8, len as u8],
        len => vec![base + 58, (len >> 16) as u8, (len >> 8) as u8, len as u8],
    };
    out.extend_from_slice(payload);
    out
}

pub fn code(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

/// What creates a contract with this code.
pub fn init_code(text: &str) -> Vec<u8> {
    let code = code(text);
    let mut out = vec![0x61, (code.len() >> 8) as u8, code.len() as u8];
    out.extend(hex::decode("80600a5f395ff3").unwrap());
    out.extend(code);
    out
}

/// Words of 32 bytes.
pub fn input(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| hex::decode(topic(*word)).unwrap()).collect()
}

/// One word as hex.
pub fn topic(word: u64) -> String {
    format!("0x{word:064x}")
}

pub fn number(value: &Value) -> u64 {
    number_u128(value).try_into().unwrap()
}

pub fn number_u128(value: &Value) -> u128 {
    u128::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}
