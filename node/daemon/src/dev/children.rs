//! The other brokers of `mainstem dev`: processes of their own, so that one can be killed as in real life.

use crate::{cli::profile::Profile, config::Config};
use anyhow::{Context, bail};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    process::{Child, ChildStdin, Command},
    task::JoinSet,
    time::timeout,
};

/// How long a child may take until it serves.
const START_WAIT: Duration = Duration::from_secs(60);
/// How long a child may take to end in order; then it is killed.
const END_WAIT: Duration = Duration::from_secs(15);
/// How often is looked whether a child serves.
const LOOK: Duration = Duration::from_millis(20);

/// A child that is starting.
#[derive(Debug)]
pub(super) struct Starting {
    number: u16,
    folder: PathBuf,
    process: Child,
}

/// The children of this process. They end when it does, in whatever way, for they hold the other end of a pipe.
#[derive(Debug, Default)]
pub(super) struct Children {
    pipes: Vec<ChildStdin>,
    watchers: JoinSet<()>,
    /// Whether they have been asked to end.
    ending: Arc<AtomicBool>,
}

impl Starting {
    /// Starts a broker with this configuration, in the folder that it names.
    pub(super) fn spawn(number: u16, config: &Config) -> anyhow::Result<Self> {
        let folder = config.data_dir.clone();
        let file = folder.join("mainstem.toml");
        fs::write(&file, toml::to_string_pretty(config)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        // What it will write once it serves.
        drop(fs::remove_file(folder.join("connection.json")));
        let log = folder.join("broker.log");
        let stderr = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let process = Command::new(std::env::current_exe().context("this program has no file")?)
            .arg("--data-dir")
            .arg(&folder)
            .args(["node", "--end-with-stdin", "--config"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            // A terminal's interrupt is for the first process, which ends the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start broker {number}"))?;
        // For who wants to see what happens when it dies.
        fs::write(folder.join("pid"), process.id().unwrap_or(0).to_string())?;
        Ok(Self { number, folder, process })
    }

    /// Waits until it serves; gives its connection profile.
    async fn profile(&mut self) -> anyhow::Result<Profile> {
        let log = self.folder.join("broker.log");
        let path = self.folder.join("connection.json");
        let written = async {
            loop {
                if let Some(status) = self.process.try_wait()? {
                    bail!("broker {} ended ({status}); see {}", self.number, log.display());
                }
                if path.exists() {
                    return Ok(Profile::load(&path)?);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        match timeout(START_WAIT, written).await {
            Ok(profile) => profile,
            Err(_) => bail!("broker {} does not come up; see {}", self.number, log.display()),
        }
    }
}

impl Children {
    /// Waits until one serves, and from then on says so if it ends. Its profile gets the well-known key, as the first
    /// broker's has it.
    pub(super) async fn take(&mut self, mut child: Starting, key: &str) -> anyhow::Result<Profile> {
        let mut profile = child.profile().await?;
        profile.private_key = Some(key.to_owned());
        profile.save(&child.folder.join("connection.json"))?;
        self.pipes.extend(child.process.stdin.take());
        let ending = self.ending.clone();
        self.watchers.spawn(async move {
            let Starting { number, folder, mut process } = child;
            let ended = process.wait().await;
            if !ending.load(Ordering::SeqCst) {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                let config = folder.join("mainstem.toml");
                tracing::error!(
                    "broker {number} ended ({how}) and is not started again; to do so: mainstem --data-dir {} node --config {}",
                    folder.display(),
                    config.display()
                );
            }
        });
        Ok(profile)
    }

    /// Asks them to end.
    pub(super) fn let_go(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        self.pipes.clear();
    }

    /// Waits until they have ended; those that take too long are killed.
    pub(super) async fn end(mut self) {
        self.let_go();
        let ended = async { while self.watchers.join_next().await.is_some() {} };
        if timeout(END_WAIT, ended).await.is_err() {
            tracing::warn!("a broker does not end and is killed");
        }
    }
}

/// The numbers of the brokers beside the first that have folders here.
pub(super) fn known(folder: &Path) -> Vec<u16> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("broker-")?.parse().ok();
    let mut numbers: Vec<u16> = entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    numbers
}

/// Where a broker beside the first has its data.
pub(super) fn folder(of: &Path, number: u16) -> PathBuf {
    of.join(format!("broker-{number}"))
}
