use super::{
    Globals,
    context::{Context, StreamName, secret_key},
    failure::Failure,
    profile::Profile,
    time,
};
use clap::Subcommand;
use mainstem_crypto::{Address, SecretKey};
use mainstem_model::Delegation;
use serde_json::json;
use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Keys.
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Make a new key
    #[command(after_help = "Example:\n  mainstem identity generate --out alice.key")]
    Generate {
        /// Write the key there, readable by you only, instead of printing it; an existing file stays as it is
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the address that commands act as
    #[command(after_help = "Example:\n  mainstem identity whoami --key-file alice.key")]
    Whoami,
    /// Let a session key publish in your name for some days; prints the delegation
    #[command(
        after_help = "Example:\n  mainstem identity delegate --session-key-address 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 \
                      --streams /rooms --days 7\n\nThe holder of the session key passes it with --delegation."
    )]
    Delegate {
        /// Address of the session key
        #[arg(long, value_name = "ADDRESS")]
        session_key_address: Address,
        /// Streams it may publish to, with commas between
        #[arg(long, value_delimiter = ',', required_unless_present = "all_streams")]
        streams: Vec<StreamName>,
        /// All streams that you may publish to
        #[arg(long, conflicts_with = "streams")]
        all_streams: bool,
        /// Days that it holds
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
}

pub(crate) async fn run(command: IdentityCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        IdentityCommand::Generate { out } => generate(out.as_deref(), globals)?,
        IdentityCommand::Whoami => whoami(globals)?,
        IdentityCommand::Delegate { session_key_address, streams, all_streams: _, days } => {
            delegate(session_key_address, &streams, days, globals).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn generate(file: Option<&Path>, globals: &Globals) -> anyhow::Result<()> {
    let key = crate::node::random_key();
    let address = key.address();
    let text = format!("0x{}", hex::encode(*key.to_bytes()));
    let Some(path) = file else {
        let object = json!({"address": address.to_string(), "privateKey": text});
        return Ok(globals
            .output()
            .result(&object, &format!("address      {address}\nprivate key  {text}"))?);
    };
    write_key(path, &text)?;
    let object = json!({"address": address.to_string(), "file": path.display().to_string()});
    Ok(globals.output().result(&object, &format!("{address}, its key is in {}", path.display()))?)
}

fn write_key(path: &Path, text: &str) -> Result<(), Failure> {
    mainstem_api::write_secret(path, text).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::io(format!("{} exists and stays as it is; name another file", path.display()));
        }
        Failure::io(format!("{} cannot be written: {error}", path.display()))
    })
}

fn whoami(globals: &Globals) -> anyhow::Result<()> {
    // A key of its own needs no profile.
    let has_own_key = globals.private_key.is_some() || globals.key_file.is_some();
    let address = if globals.delegation.is_some() || !has_own_key {
        Context::load(globals)?.address()?
    } else {
        own_key(globals)?.address()
    };
    let object = json!({"address": address.to_string()});
    Ok(globals.output().result(&object, &address.to_string())?)
}

fn own_key(globals: &Globals) -> Result<SecretKey, Failure> {
    secret_key(globals, None::<&Profile>)?.ok_or_else(|| Failure::usage("no key was given"))
}

async fn delegate(
    session_key: Address,
    names: &[StreamName],
    days: u32,
    globals: &Globals,
) -> anyhow::Result<()> {
    let context = Context::load(globals)?;
    if globals.delegation.is_some() {
        return Err(Failure::usage("only the wallet's own key can delegate; leave --delegation out").into());
    }
    let mut streams = Vec::with_capacity(names.len());
    for name in names {
        streams.push(context.resolve(name).await?);
    }
    let now_s = u64::try_from(time::now_ms() / 1000).unwrap_or(0);
    let expiry = now_s + u64::from(days) * 86_400;
    let network = context.profile.deployment.network();
    let key = context.need_key()?;
    let delegation = Delegation::sign(&network, key, session_key, streams, expiry)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let bytes = format!("0x{}", hex::encode(delegation.encode()));
    let object = json!({
        "delegation": bytes,
        "wallet": key.address().to_string(),
        "sessionKey": session_key.to_string(),
        "streams": delegation.streams.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "expiresAt": time::iso_of_seconds(expiry),
        "digest": format!("0x{}", hex::encode(delegation.digest(&network))),
    });
    Ok(context.out.result(&object, &bytes)?)
}
