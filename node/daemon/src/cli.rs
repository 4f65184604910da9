//! The command line: what users type, and what it does.

pub(crate) mod context;
mod doctor;
pub(crate) mod failure;
mod http;
mod identity;
mod key;
mod network;
pub(crate) mod output;
mod plugin;
pub(crate) mod profile;
mod progress;
mod stream;
mod table;
pub(crate) mod time;

use clap::{ArgAction, CommandFactory, Parser, Subcommand, error::ErrorKind};
use failure::{EXIT_CODES, Failure};
use output::Output;
use profile::Profile;
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

/// Real-time data backbone: signed event streams over your own brokers.
#[derive(Debug, Parser)]
#[command(
    name = "mainstem",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = EXIT_CODES
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct Globals {
    /// Folder of the node's data and of the connection profile; goes before the configuration's data_dir
    /// [default: ~/.local/share/mainstem]
    #[arg(long, global = true, value_name = "DIR", env = "MAINSTEM_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Connection profile [default: connection.json of the data folder, else that of `mainstem dev`]
    #[arg(long, global = true, value_name = "FILE", env = "MAINSTEM_PROFILE")]
    profile: Option<PathBuf>,
    /// Broker instead of the profile's, quic://host:port
    #[arg(long, global = true, value_name = "URL")]
    broker: Option<String>,
    /// SHA-256 of the broker's public key, 64 hex digits
    #[arg(long, global = true, value_name = "HEX")]
    pin: Option<String>,
    /// JSON-RPC endpoint of the chain instead of the profile's
    #[arg(long, global = true, value_name = "URL")]
    rpc: Option<String>,
    /// HTTP listener of the node instead of the profile's
    #[arg(long, global = true, value_name = "URL")]
    http: Option<String>,
    /// Key to act with; others on this machine see arguments, so rather use --key-file
    #[arg(
        long,
        global = true,
        value_name = "HEX",
        env = "MAINSTEM_PRIVATE_KEY",
        hide_env_values = true,
        conflicts_with = "key_file"
    )]
    private_key: Option<String>,
    /// File with the key to act with, as `mainstem identity generate --out` writes it
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A wallet's delegation to the key, hex: publish in the wallet's name
    #[arg(long, global = true, value_name = "HEX", env = "MAINSTEM_DELEGATION")]
    delegation: Option<String>,
    /// Installed plugin that signs instead of a wallet, by its name or id
    #[arg(long, global = true, value_name = "PLUGIN", requires = "plugin_key_file")]
    plugin: Option<String>,
    /// File with the key that the plugin signs with, hex digits
    #[arg(long, global = true, value_name = "FILE", requires = "plugin", conflicts_with = "delegation")]
    plugin_key_file: Option<PathBuf>,
    /// Results and errors as JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    /// Say more on stderr; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a chain, the contracts and a broker on this machine, for development
    #[command(after_help = "Example:\n  mainstem dev --reset")]
    Dev(crate::dev::DevArgs),
    /// Run a broker of a real network
    #[command(after_help = "Example:\n  mainstem node --config mainstem.toml")]
    Node(crate::serve::NodeArgs),
    /// Write a configuration file with every key, its default and its reason
    #[command(after_help = "Example:\n  mainstem init && mainstem node --check")]
    Init(crate::serve::InitArgs),
    /// Measure how fast a broker is on this machine
    #[command(after_help = "Example:\n  mainstem bench --only throughput,latency --seconds 5")]
    Bench(crate::bench::BenchArgs),
    /// Publish a recorded feed as if it happened now, at the speed you like
    #[command(
        after_help = "Examples:\n  mainstem replay examples/data/earthquakes.ndjson --stream /earthquakes --speed 3600\n  \
                      mainstem replay flights.ndjson --stream /flights -k origin --partitions 3 --speed max\n\n\
                      Events get the time of now; the recorded time stays in their content. A bad line is reported with its\n\
                      number, the others are published, and the exit code is 65."
    )]
    Replay(crate::replay::ReplayArgs),
    /// Create, find, read, publish to and share streams
    Stream {
        #[command(subcommand)]
        command: stream::StreamCommand,
    },
    /// Keys: make one, look at one, lend one's name to another
    Identity {
        #[command(subcommand)]
        command: identity::IdentityCommand,
    },
    /// Content keys: make one
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
    },
    Network(network::NetworkArgs),
    /// Plugins: make, build and check one, put it into a node
    Plugin {
        #[command(subcommand)]
        command: plugin::PluginCommand,
    },
    /// Check that everything a client or a node needs is there
    Doctor(doctor::DoctorArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  mainstem completions bash > ~/.local/share/bash-completion/completions/mainstem"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

impl Globals {
    /// Folder of the node's data.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.data_dir {
            return Ok(folder.clone());
        }
        directories::ProjectDirs::from("", "", "mainstem")
            .map(|folders| folders.data_dir().to_owned())
            .ok_or_else(|| Failure::usage("this user has no home folder; pass --data-dir <dir>"))
    }

    /// Folder of the plugins.
    pub(crate) fn plugins_dir(&self) -> Result<PathBuf, Failure> {
        Ok(self.data_dir()?.join(crate::plugins::FOLDER))
    }

    /// The same if it was said which, by option or environment: goes before a node's configuration.
    pub(crate) fn named_data_dir(&self) -> Option<PathBuf> {
        self.data_dir.clone()
    }

    /// How much to log: 0 warnings, 1 what changes state, 2 and more everything of ours.
    pub(crate) const fn verbose(&self) -> u8 {
        self.verbose
    }

    fn profile_path(&self) -> Result<PathBuf, Failure> {
        self.profile.clone().map_or_else(|| self.data_dir().map(|folder| Profile::path(&folder)), Ok)
    }

    const fn output(&self) -> Output {
        Output::new(self.json)
    }
}

/// Reads the arguments. Help and version go to stdout with exit code 0, wrong use to stderr with 64.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    parse_from(std::env::args_os().collect())
}

fn parse_from(arguments: Vec<OsString>) -> Result<Cli, ExitCode> {
    let json = arguments.iter().any(|argument| argument == "--json");
    Cli::try_parse_from(arguments).map_err(|error| {
        let is_asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if json && !is_asked_for {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let message =
                first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
            Output::new(true).failure(&Failure::usage(message));
        } else {
            // Nobody to tell is no reason for another exit code.
            drop(error.print());
        }
        ExitCode::from(if is_asked_for { 0 } else { failure::USAGE })
    })
}

impl Command {
    /// Whether it serves until it is told to end, and so says on stderr what it does.
    pub(crate) const fn is_server(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Node(_))
    }
}

/// Prints a line on stdout; nobody reading it is no reason to stop.
pub(crate) fn say(text: &str) {
    drop(Output::new(false).line(text));
}

/// Does what was asked and says how it went.
pub(crate) async fn run(cli: Cli) -> ExitCode {
    let out = cli.globals.output();
    match dispatch(cli).await {
        Ok(code) => code,
        Err(error) => {
            tracing::debug!(?error, "failed");
            let Some(failure) = Failure::of(&error) else { return ExitCode::SUCCESS };
            out.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

async fn dispatch(Cli { globals, command }: Cli) -> anyhow::Result<ExitCode> {
    match command {
        Command::Dev(args) => crate::dev::run(args, &globals.data_dir()?).await.map(|()| ExitCode::SUCCESS),
        Command::Node(args) => {
            crate::serve::run(args, globals.named_data_dir()).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Init(args) => crate::serve::init(&args).map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => crate::bench::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Replay(args) => crate::replay::run(args, &globals).await,
        Command::Stream { command } => stream::run(command, &globals).await,
        Command::Key { command } => key::run(command, &globals),
        Command::Identity { command } => identity::run(command, &globals).await,
        Command::Network(args) => network::run(args, &globals).await,
        Command::Plugin { command } => plugin::run(command, &globals).await,
        Command::Doctor(args) => doctor::run(args, &globals).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mainstem", &mut script);
            globals.output().bytes(&script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_hold() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                for sub in command.get_subcommands() {
                    check(sub, &path);
                }
            } else {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{path} has no example");
            }
        }
        check(&Cli::command(), "");
    }
}
