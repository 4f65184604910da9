//! `mainstem init` and `mainstem node`: a broker of a real network.

use crate::{
    cli::{failure::Failure, profile::Profile},
    config::{self, Config, DEFAULT_FILE},
    interrupts::Interrupts,
    node,
};
use anyhow::Context;
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};
use tokio::sync::oneshot;

/// Options of `mainstem init`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// File to write; it must not be there yet
    #[arg(default_value = config::FILE)]
    file: PathBuf,
}

/// Options of `mainstem node`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Configuration file, as `mainstem init` writes it
    #[arg(long, default_value = config::FILE)]
    config: PathBuf,
    /// Only read and check the configuration; opens nothing
    #[arg(long)]
    check: bool,
    /// End when standard input does: whoever started the node holds the other end
    #[arg(long, hide = true)]
    end_with_stdin: bool,
}

/// Writes the configuration with every key, its default and its reason.
///
/// # Errors
/// The file is there already, or cannot be written.
pub(crate) fn init(args: &InitArgs) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.file)
        .with_context(|| format!("cannot make {}", args.file.display()))?;
    file.write_all(DEFAULT_FILE.as_bytes())?;
    crate::cli::say(&format!(
        "wrote {}\nnext: name the chain's JSON-RPC endpoint and the contracts in it, then run\n  mainstem node --config {}",
        args.file.display(),
        args.file.display()
    ));
    Ok(())
}

/// Runs until interrupted.
///
/// # Errors
/// The configuration is wrong (before any port opens), or what [`node::start`] says.
pub(crate) async fn run(args: NodeArgs, data_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let mut config = Config::load(&args.config)?;
    if let Some(data_dir) = data_dir {
        config.data_dir = data_dir;
    }
    let file = args.config.display();
    let missing = format!("{file} names no contracts: fill in [chain.contracts]");
    if args.check {
        let rest = if config.chain.contracts.is_none() { &missing } else { "" };
        crate::cli::say(format!("{file} is good\n{rest}").trim_end());
        return Ok(());
    }
    let Some(deployment) = config.chain.contracts.clone() else {
        return Err(Failure::usage(missing).into());
    };
    let data_dir = config.data_dir.clone();
    let rpc = config.chain.rpc.urls.first().cloned();
    let running = node::start(config, deployment.clone()).await?;
    let path = Profile::path(&data_dir);
    let profile = Profile {
        broker: format!("quic://{}", running.reached.quic),
        pin: Some(hex::encode(running.pin)),
        node: Some(running.node.to_string()),
        rpc,
        deployment,
        http: Some(format!("http://{}", running.reached.http)),
        websocket: Some(format!("ws://{}/ws", running.reached.http)),
        // `mainstem dev` writes one for its brokers; who starts one of them again finds it.
        private_key: Profile::load(&path).ok().and_then(|before| before.private_key),
    };
    profile.save(&path)?;
    let interrupts = Interrupts::listen()?;
    let stop = async {
        tokio::select! {
            () = interrupts.heard(1) => 1,
            () = input_ends(), if args.end_with_stdin => 0,
        }
    };
    running.until(stop, &interrupts).await
}

/// Returns when standard input ends: so however the process ended that holds the other end of a pipe.
async fn input_ends() {
    let (ended, end) = oneshot::channel::<()>();
    // A thread of its own: nothing waits for it when the node ends otherwise.
    std::thread::spawn(move || {
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        drop(ended);
    });
    drop(end.await);
}
