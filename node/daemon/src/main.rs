//! `mainstem`: one program for operators, developers and tests.

mod allocator;
mod bench;
mod broker;
mod chain_seen;
mod cli;
mod config;
mod dev;
mod driver;
mod interrupts;
mod metrics;
mod network;
mod node;
mod operator;
mod peer;
mod peers_seen;
mod plugins;
mod reader;
mod replay;
mod retention;
mod serve;
mod store;

use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // IMPORTANT: before anything is started, as that process bounds itself.
    if std::env::args_os().nth(1).is_some_and(|first| first == plugins::COMPILE) {
        return mainstem_plugin_host::compile_in_child();
    }
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    log(cli.globals.verbose(), cli.command.is_server());
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(cli));
            // A read of standard input that nobody waits for any more must not hold up the end.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            ExitCode::FAILURE
        }
    }
}

/// Logs go to stderr; `RUST_LOG` says more exactly what.
fn log(verbose: u8, is_server: bool) {
    let default = match verbose {
        // A server that came up says so; its libraries need not, nor that a broker without others knows of none.
        0 if is_server => "warn,mainstem=info,libp2p_kad=error",
        0 => "warn",
        1 => "info",
        _ => {
            "mainstem=debug,mainstem_api=debug,mainstem_chain=debug,mainstem_store=debug,mainstem_client=debug,info"
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
