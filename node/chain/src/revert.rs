use crate::{contracts, json::read_data};
use ethers_core::abi::{ParamType, Token, decode, ethabi::AbiError};
use mainstem_crypto::Hash;
use serde_json::Value;
use std::fmt;

/// Why a contract refused: its error by name, with a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revert {
    /// Name of the custom error; `Error` for a text, `Panic` for a failed assertion, empty if nothing was said or the
    /// error is not one of ours.
    pub name: String,
    /// The error's fields, by name, as text.
    pub arguments: Vec<(String, String)>,
    /// What it means.
    pub message: String,
    /// What the contract reverted with.
    pub data: Vec<u8>,
    /// The transaction, if it was mined; it then cost its gas.
    pub transaction: Option<Hash>,
}

/// Selector of `Error(string)`: `require` with a text.
const ERROR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// Selector of `Panic(uint256)`.
const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

impl Revert {
    /// Reads what a contract reverted with. Never fails: what is not known stays bytes.
    pub fn decode(data: Vec<u8>) -> Self {
        let (name, arguments, message) = read(&data);
        Self { name, arguments, message, data, transaction: None }
    }

    /// The value of a field.
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The revert in an error of JSON-RPC, wherever nodes put it. `None` if the error is another one.
    pub(crate) fn of_reply(code: i64, message: &str, data: Option<&Value>) -> Option<Self> {
        let data = data.map(|data| data.get("data").unwrap_or(data)).and_then(Value::as_str);
        let bytes = data.and_then(|text| read_data(text.trim_start_matches("Reverted ")));
        match bytes {
            Some(bytes) if code == 3 || !bytes.is_empty() || message.contains("revert") => {
                Some(Self::decode(bytes))
            }
            _ if code == 3 || message.contains("execution reverted") => Some(Self::decode(Vec::new())),
            _ => None,
        }
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.name.is_empty() {
            write!(f, " ({})", self.name)?;
        }
        Ok(())
    }
}

impl std::error::Error for Revert {}

type Reading = (String, Vec<(String, String)>, String);

fn read(data: &[u8]) -> Reading {
    let Some((selector, body)) = data.split_first_chunk::<4>() else {
        return (String::new(), Vec::new(), "the contract refused and gave no reason".to_owned());
    };
    if *selector == ERROR {
        let text = match decode(&[ParamType::String], body).ok().and_then(|mut tokens| tokens.pop()) {
            Some(Token::String(text)) => text.chars().take(300).collect(),
            _ => "the contract refused, its reason cannot be read".to_owned(),
        };
        return ("Error".to_owned(), Vec::new(), text);
    }
    if *selector == PANIC {
        let code = body.iter().rev().take(1).map(|byte| format!("0x{byte:02x}")).collect::<String>();
        let arguments = vec![("code".to_owned(), code.clone())];
        return ("Panic".to_owned(), arguments, format!("an assertion of the contract failed, code {code}"));
    }
    let known = contracts::errors().get(selector);
    match known.and_then(|error| fields(error, body).map(|fields| (error, fields))) {
        Some((error, fields)) => {
            let message = sentence(&error.name, &fields);
            (error.name.clone(), fields, message)
        }
        None => {
            let message = format!("the contract refused with error 0x{}", hex::encode(selector));
            (String::new(), Vec::new(), message)
        }
    }
}

fn fields(error: &AbiError, body: &[u8]) -> Option<Vec<(String, String)>> {
    let kinds: Vec<ParamType> = error.inputs.iter().map(|input| input.kind.clone()).collect();
    let tokens = decode(&kinds, body).ok()?;
    Some(error.inputs.iter().map(|input| input.name.clone()).zip(tokens.iter().map(text)).collect())
}

fn text(token: &Token) -> String {
    match token {
        Token::Address(address) => format!("{address:#x}"),
        Token::Uint(number) | Token::Int(number) => number.to_string(),
        Token::Bool(bit) => bit.to_string(),
        Token::String(text) => text.chars().take(300).collect(),
        Token::FixedBytes(bytes) | Token::Bytes(bytes) => {
            format!("0x{}", hex::encode(&bytes[..bytes.len().min(300)]))
        }
        Token::FixedArray(tokens) | Token::Array(tokens) | Token::Tuple(tokens) => {
            let shown: Vec<String> = tokens.iter().take(16).map(text).collect();
            format!("[{}]", shown.join(", "))
        }
    }
}

/// What an error means to the person whose transaction it was.
fn sentence(name: &str, fields: &[(String, String)]) -> String {
    if let Some(known) = contracts::sentence(name) {
        return known.to_owned();
    }
    // `NotTheOwner` reads "not the owner".
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
    match fields.is_empty() {
        true => format!("the contract refused: {words}"),
        false => format!("the contract refused: {words} ({})", fields.join(", ")),
    }
}
