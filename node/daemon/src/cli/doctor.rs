use super::{
    Globals,
    context::Context,
    failure::{Failure, OTHER},
    http,
    output::Output,
    progress, time,
};
use clap::Args;
use mainstem_client::PublishConfig;
use mainstem_store::{Config, DiskLog, EventLog, Verified};
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

/// Broker and chain agree on times to within this, or events get refused.
const SKEW_MS_WARN: i64 = 2_000;
/// Free space below which a node will soon stop.
const FREE_BYTES_FAIL: u64 = 1 << 30;
const FREE_BYTES_WARN: u64 = 10 << 30;
/// What QUIC wants of UDP buffers.
const UDP_BYTES: u64 = 7_500_000;
/// How long the broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(15);

/// Check profile, broker, node, chain, clock, disk and network buffers; exit code 1 when something fails
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mainstem doctor\n  mainstem doctor --store /var/lib/mainstem/store   (the node must be stopped)"
)]
pub(crate) struct DoctorArgs {
    /// Read and check everything in this store; its node must be stopped
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Warn,
    Fail,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one check found.
#[derive(Debug)]
struct Finding {
    status: Status,
    text: String,
}

impl Finding {
    fn ok(text: impl Into<String>) -> Self {
        Self { status: Status::Ok, text: text.into() }
    }

    fn warn(text: impl Into<String>) -> Self {
        Self { status: Status::Warn, text: text.into() }
    }

    fn fail(text: impl Into<String>) -> Self {
        Self { status: Status::Fail, text: text.into() }
    }

    fn of(result: anyhow::Result<String>) -> Self {
        match result {
            Ok(text) => Self::ok(text),
            Err(error) => {
                Self::fail(Failure::of(&error).map_or_else(|| error.to_string(), |failure| failure.message))
            }
        }
    }
}

/// Prints findings as they come and remembers the worst.
struct Report {
    out: Output,
    has_failed: bool,
}

impl Report {
    fn add(&mut self, check: &str, finding: &Finding) -> io::Result<()> {
        self.has_failed |= finding.status == Status::Fail;
        let status = finding.status.as_str();
        let object = json!({"check": check, "status": status, "message": finding.text});
        self.out.result(&object, &format!("{status:<5} {check:<12} {}", finding.text))
    }
}

pub(crate) async fn run(args: DoctorArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let out = globals.output();
    let mut report = Report { out, has_failed: false };
    match Context::load(globals) {
        Ok(context) => {
            let path = globals.profile_path()?;
            report.add("profile", &Finding::ok(path.display().to_string()))?;
            report.add("broker", &broker(&context).await)?;
            report.add("chain", &chain(&context).await)?;
            report.add("node", &node(&context).await)?;
            report.add("clock", &clock(&context).await)?;
        }
        Err(failure) => report.add("profile", &Finding::fail(failure.message))?,
    }
    let data_dir = globals.data_dir()?;
    report.add("data folder", &data_folder(&data_dir))?;
    report.add("disk", &disk(&data_dir))?;
    for (check, name) in [("udp receive", "rmem_max"), ("udp send", "wmem_max")] {
        report.add(check, &udp_buffer(name))?;
    }
    if let Some(folder) = args.store {
        let finding = tokio::task::spawn_blocking(move || store(&folder, out)).await?;
        report.add("store", &finding)?;
    }
    Ok(ExitCode::from(if report.has_failed { OTHER } else { 0 }))
}

async fn broker(context: &Context) -> Finding {
    let url = &context.profile.broker;
    let begun = Instant::now();
    let connecting = tokio::time::timeout(BROKER_TIMEOUT, context.connect(PublishConfig::default()));
    let Ok(connected) = connecting.await else {
        return Finding::fail(format!("{url} does not answer within {} s", BROKER_TIMEOUT.as_secs()));
    };
    let finding = Finding::of(connected.map(|client| {
        let who = client
            .address()
            .map_or_else(|| "nobody, as no key was given".to_owned(), |address| address.to_string());
        format!("{url} took the sign-in of {who} in {} ms", begun.elapsed().as_millis())
    }));
    context.close().await;
    finding
}

async fn chain(context: &Context) -> Finding {
    let asking = async {
        let rpc = context.rpc()?;
        // Compares with the profile's chain.
        let id = rpc.check_chain().await?;
        let block = rpc.block_number().await?;
        let registry = context.profile.deployment.stream_registry;
        if rpc.code(registry).await?.is_empty() {
            return Err(Failure::usage(format!(
                "chain {id} has no contract at {registry}; the profile is of another chain or an earlier run"
            ))
            .into());
        }
        Ok(format!("chain {id} at block {block}, registry {registry}"))
    };
    Finding::of(asking.await)
}

async fn node(context: &Context) -> Finding {
    let Ok(base) = context.http() else {
        return Finding::warn(
            "the profile names no HTTP listener; search and list-permissions take --http <url>",
        );
    };
    let asking = async {
        let (status, why) = http::get(base, "/healthz").await?;
        if !status.is_success() {
            let why = String::from_utf8_lossy(&why);
            let why = why.lines().next().unwrap_or_default();
            return Err(Failure::unavailable(format!("{base}/healthz answers {status}: {why}")).into());
        }
        let info = http::get_json(base, "/info").await?;
        let text =
            |name: &str| info.get(name).and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
        let network =
            info.get("network").and_then(|network| network.get("id")).and_then(serde_json::Value::as_str);
        let expected = context.profile.deployment.network().id().to_string();
        if network != Some(&expected) {
            return Err(Failure::usage(format!("{base} serves another network than the profile's")).into());
        }
        Ok(format!("{base} is healthy, version {}", text("version")))
    };
    Finding::of(asking.await)
}

async fn clock(context: &Context) -> Finding {
    let Ok(base) = context.http() else { return Finding::warn("not compared: no HTTP listener is known") };
    let before = time::now_ms();
    let theirs = match http::get_json(base, "/info").await {
        Ok(info) => info.get("clockMs").and_then(serde_json::Value::as_i64),
        Err(failure) => return Finding::warn(format!("not compared: {failure}")),
    };
    let after = time::now_ms();
    theirs.map_or_else(
        || Finding::warn("not compared: the node does not tell its time"),
        |theirs| skew(before, theirs, after),
    )
}

/// Judges the node's time, which it read somewhere between two readings of ours.
fn skew(before: i64, theirs: i64, after: i64) -> Finding {
    // What is certain: less than this cannot be told from the way there and back.
    let skew = if theirs < before { theirs - before } else { (theirs - after).max(0) };
    let way = if skew < 0 { "behind" } else { "ahead of" };
    if skew.abs() > SKEW_MS_WARN {
        return Finding::warn(format!(
            "the node's clock is {} ms {way} this machine's; switch on time synchronisation on both",
            skew.abs()
        ));
    }
    Finding::ok(format!("the node's clock is at most {} ms off", skew.abs() + (after - before)))
}

fn data_folder(folder: &Path) -> Finding {
    if !folder.exists() {
        return Finding::warn(format!("{} does not exist yet; the node makes it", folder.display()));
    }
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    let written = fs::write(&probe, b"mainstem doctor").and_then(|()| fs::remove_file(&probe));
    match written {
        Ok(()) => Finding::ok(format!("{} can be written", folder.display())),
        Err(error) => Finding::fail(format!("{} cannot be written: {error}", folder.display())),
    }
}

fn disk(folder: &Path) -> Finding {
    // A folder that is not there yet will be on its parent's disk.
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    let answer = Command::new("df").arg("-Pk").arg(there).env("LC_ALL", "C").output();
    let free = answer.ok().and_then(|answer| free_bytes(&String::from_utf8_lossy(&answer.stdout)));
    let Some(free) = free else { return Finding::warn("free space is not known: `df -Pk` gave no answer") };
    let text = format!("{:.1} GiB free for {}", free as f64 / f64::from(1 << 30), folder.display());
    if free < FREE_BYTES_FAIL {
        Finding::fail(format!("{text}; make room before the store stops taking writes"))
    } else if free < FREE_BYTES_WARN {
        Finding::warn(text)
    } else {
        Finding::ok(text)
    }
}

/// The fourth column of the last line of `df -Pk`, as POSIX has it.
fn free_bytes(answer: &str) -> Option<u64> {
    let kilobytes: u64 = answer.lines().skip(1).last()?.split_whitespace().nth(3)?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn udp_buffer(name: &str) -> Finding {
    let path = format!("/proc/sys/net/core/{name}");
    let Some(bytes) = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
        return Finding::warn(format!("net.core.{name} is not known on this system"));
    };
    if bytes < UDP_BYTES {
        return Finding::warn(format!(
            "net.core.{name} is {bytes} bytes and limits QUIC; run `sudo sysctl -w net.core.{name}={UDP_BYTES}`"
        ));
    }
    Finding::ok(format!("net.core.{name} is {bytes} bytes"))
}

fn store(folder: &Path, out: Output) -> Finding {
    // Opening a folder without one would make a store there.
    if !folder.join("log").is_dir() {
        return Finding::fail(format!(
            "{} holds no store; name the folder that holds `log`",
            folder.display()
        ));
    }
    let verified = DiskLog::open(folder, &Config::default(), 0).and_then(|log| verify(&log, out));
    match verified {
        Ok(verified) => judge(&verified),
        Err(error) => Finding::fail(error.to_string()),
    }
}

fn verify(log: &DiskLog, out: Output) -> Result<Verified, mainstem_store::StoreError> {
    let mut length = 0;
    for at in log.partitions()? {
        // A damaged row is found below; here it only makes the bar end late.
        length += log.stats(at).map(|stats| stats.bytes).unwrap_or(0);
    }
    let bar = progress::bytes(out.shows_progress(), Some(length));
    let verified = log.verify(&mut |verified| bar.set_position(verified.bytes));
    bar.finish_and_clear();
    verified
}

fn judge(verified: &Verified) -> Finding {
    let whole = format!("{} batches, {} bytes", verified.batches, verified.bytes);
    if verified.damaged.is_empty() && verified.faults.is_empty() {
        return Finding::ok(format!("{whole}, every one intact and in every index"));
    }
    let damaged = verified.damaged.iter().map(|range| {
        let which = if range.positions.is_empty() {
            "what fills up history".to_owned()
        } else {
            format!("positions {} to {}", range.positions.start, range.positions.end - 1)
        };
        format!("{} {which}: {}", range.at, range.why)
    });
    let faults: Vec<String> = damaged.chain(verified.faults.iter().cloned()).collect();
    let shown = faults.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
    Finding::fail(format!(
        "{whole}, {} faults: {shown}{}; restore the folder from a backup, or let the other replicas fill an empty one",
        faults.len(),
        if faults.len() > 5 { "; …" } else { "" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_df_says() {
        let answer = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 60 40 60% /\n";
        assert_eq!(free_bytes(answer), Some(40 * 1024));
        assert_eq!(free_bytes(""), None);
        assert_eq!(free_bytes("Filesystem 1024-blocks\n"), None);
    }

    #[test]
    fn a_slow_answer_is_not_taken_for_a_wrong_clock() {
        for (theirs, status) in [
            (5_000, Status::Ok),
            (0, Status::Ok),
            (9_000, Status::Ok),
            (-2_001, Status::Warn),
            (11_001, Status::Warn),
            (11_000, Status::Ok),
        ] {
            assert_eq!(skew(0, theirs, 9_000).status, status, "{theirs}");
        }
    }

    #[test]
    fn a_store_with_a_fault_fails() {
        assert_eq!(judge(&Verified::default()).status, Status::Ok);
        let verified = Verified { faults: vec!["x".to_owned()], ..Verified::default() };
        assert_eq!(judge(&verified).status, Status::Fail);
    }

    #[test]
    fn an_empty_folder_is_left_empty() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(store(folder.path(), Output::new(true)).status, Status::Fail);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
