use super::child::{Bounds, REFUSED};
use crate::{CompileError, Config, sentence::sentence};
use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// Bytes of a child's complaint that are read.
const STDERR_BYTES_MAX: u64 = 4 << 10;

/// How often it is looked at whether a child that has closed its outputs has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Machine code of a module, from a child that lives no longer than the configuration says.
pub(super) fn compile(
    program: &Path,
    args: &[OsString],
    config: &Config,
    module: &[u8],
) -> Result<Vec<u8>, CompileError> {
    let until = Instant::now() + Duration::from_secs(config.compile_seconds_max.into());
    let mut child = Killed(
        Command::new(program)
            .args(args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(CompileError::Spawn)?,
    );
    let bounds =
        Bounds { seconds: config.compile_seconds_max.into(), memory_bytes: config.compile_memory_bytes_max };
    feed(&mut child.0, [&bounds.encode()[..], module].concat()).map_err(CompileError::Spawn)?;
    let artefact = listen(child.0.stdout.take(), config.compile_memory_bytes_max);
    let complaint = listen(child.0.stderr.take(), STDERR_BYTES_MAX);
    let (artefact, complaint) =
        (artefact.map_err(CompileError::Spawn)?, complaint.map_err(CompileError::Spawn)?);

    let late = || CompileError::Deadline(config.compile_seconds_max);
    let artefact = heard(&artefact, until).ok_or_else(late)?;
    let complaint = heard(&complaint, until).ok_or_else(late)?;
    let status = ended(&mut child.0, until).map_err(CompileError::Spawn)?.ok_or_else(late)?;
    judge(status, artefact, &complaint, config)
}

fn judge(
    status: ExitStatus,
    artefact: Vec<u8>,
    complaint: &[u8],
    config: &Config,
) -> Result<Vec<u8>, CompileError> {
    use std::os::unix::process::ExitStatusExt;
    if status.success() {
        return Ok(artefact);
    }
    // What follows its first line is advice to those who work on it.
    let complaint = sentence(complaint.split(|byte| *byte == b'\n').next().unwrap_or_default());
    if status.code() == Some(REFUSED.into()) {
        return Err(CompileError::Refused(complaint));
    }
    // The system's own answer to too much time of a processor.
    if status.signal() == Some(rustix::process::Signal::XCPU.as_raw()) {
        return Err(CompileError::Deadline(config.compile_seconds_max));
    }
    let said = if complaint.is_empty() { String::new() } else { format!(" ({complaint})") };
    Err(CompileError::Ended(format!("{status}{said}")))
}

/// Ended whatever becomes of it.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes on a thread of its own: a child that does not read must not hold this one up.
fn feed(child: &mut Child, bytes: Vec<u8>) -> io::Result<()> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    // A child that ends early breaks the pipe; its exit code says why.
    let write = move || drop(stdin.write_all(&bytes));
    thread::Builder::new().name("plugin-compile-in".into()).spawn(write)?;
    Ok(())
}

/// Reads to the end, but no more than `bytes_max`, on a thread of its own.
fn listen(from: Option<impl Read + Send + 'static>, bytes_max: u64) -> io::Result<Receiver<Vec<u8>>> {
    let (heard, receiver) = channel();
    let read = move || {
        let mut bytes = Vec::new();
        let whole = from.map(|from| from.take(bytes_max).read_to_end(&mut bytes));
        // Nobody may be listening any more: then it was too late.
        let _ = heard.send(if matches!(whole, Some(Ok(_))) { bytes } else { Vec::new() });
    };
    thread::Builder::new().name("plugin-compile-out".into()).spawn(read)?;
    Ok(receiver)
}

fn heard(from: &Receiver<Vec<u8>>, until: Instant) -> Option<Vec<u8>> {
    from.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
}

fn ended(child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}
