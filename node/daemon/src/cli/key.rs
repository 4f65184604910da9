//! Content keys in files: one key a file, TOML.

use super::{Globals, failure::Failure};
use clap::Subcommand;
use mainstem_client::StreamKeys;
use mainstem_model::{ContentKey, EncryptionType, KeyId, StreamId};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};
use zeroize::Zeroizing;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a content key, which seals events for those who have it
    #[command(
        after_help = "Example:\n  mainstem key new rooms.contentkey && mainstem stream publish /rooms --content-key rooms.contentkey"
    )]
    New {
        /// File for it, readable by you only; an existing file stays as it is
        file: PathBuf,
        /// Encryption type: 1 is AES-256-GCM, 16 and up are plugins'
        #[arg(long = "type", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        encryption_type: u16,
        /// Bytes of the key, as the type says
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(16..=64))]
        bytes: u16,
    },
}

/// A key as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "type")]
    encryption_type: u16,
    id: String,
    key: String,
}

pub(crate) fn run(command: KeyCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    let KeyCommand::New { file, encryption_type, bytes } = command;
    let id = KeyId(rand::random());
    let key = Zeroizing::new((0..bytes).map(|_| rand::random()).collect::<Vec<u8>>());
    let digits = Zeroizing::new(hex::encode(&*key));
    let text = Zeroizing::new(format!(
        "# A content key of Mainstem. Whoever has it reads what was sealed with it.\ntype = {encryption_type}\nid = \"{id}\"\nkey = \"{}\"\n",
        *digits
    ));
    mainstem_api::write_secret(&file, &text).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::io(format!("{} exists and stays as it is; name another file", file.display()));
        }
        Failure::io(format!("{} cannot be written: {error}", file.display()))
    })?;
    let object = json!({"id": id.to_string(), "type": encryption_type, "file": file.display().to_string()});
    globals.output().result(&object, &format!("content key {id} is in {}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The keys in files, for one stream. What is published is sealed with the first one, if it is to be.
pub(crate) fn read(files: &[PathBuf], stream: StreamId) -> Result<BTreeMap<StreamId, StreamKeys>, Failure> {
    let keys = files.iter().map(|path| read_one(path)).collect::<Result<Vec<_>, _>>()?;
    let publish = keys.first().map(|key| key.id);
    let keys = StreamKeys { keys, publish };
    Ok(publish.map(|_| (stream, keys)).into_iter().collect())
}

fn read_one(path: &Path) -> Result<ContentKey, Failure> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| Failure::io(format!("cannot read {}: {error}", path.display())))?;
    // The parser's own words may show the key.
    let wrong = |what: &str| {
        Failure::data(format!("{} is no content key: {what}; `mainstem key new` makes one", path.display()))
    };
    let file: File =
        toml::from_str(&text).map_err(|_| wrong("it must have type, id and key, and nothing else"))?;
    let digits = Zeroizing::new(file.key);
    let id = file.id.parse().map_err(|_| wrong("its id must be 32 hex digits"))?;
    let key = hex::decode(digits.as_bytes()).map_err(|_| wrong("its key must be hex digits"))?;
    Ok(ContentKey::new(id, EncryptionType(file.encryption_type), key))
}
