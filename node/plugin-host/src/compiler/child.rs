use crate::engine::engine;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

/// How it ends when it has refused a module; stderr says why.
pub(super) const REFUSED: u8 = 65;

/// What a child reads first: its bounds, then the module to its end.
pub(super) struct Bounds {
    pub(super) seconds: u64,
    pub(super) memory_bytes: u64,
}

impl Bounds {
    const LENGTH: usize = 16;

    pub(super) fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&self.seconds.to_le_bytes());
        bytes[8..].copy_from_slice(&self.memory_bytes.to_le_bytes());
        bytes
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let (mut seconds, mut memory_bytes) = ([0; 8], [0; 8]);
        from.read_exact(&mut seconds)?;
        from.read_exact(&mut memory_bytes)?;
        Ok(Self { seconds: u64::from_le_bytes(seconds), memory_bytes: u64::from_le_bytes(memory_bytes) })
    }

    /// From here on the system holds this process to them.
    fn apply(&self) -> io::Result<()> {
        // Over the first of these the system says why, over the second it kills.
        limit(Resource::Cpu, self.seconds, self.seconds + 1)?;
        limit(Resource::As, self.memory_bytes, self.memory_bytes)?;
        // What it is killed over is of no use to anybody.
        limit(Resource::Core, 0, 0)
    }
}

fn limit(of: Resource, to: u64, maximum: u64) -> io::Result<()> {
    // A limit that is there already may be lower, and cannot be raised.
    let most = getrlimit(of).maximum.map_or(maximum, |most| maximum.min(most));
    Ok(setrlimit(of, Rlimit { current: Some(to.min(most)), maximum: Some(most) })?)
}

/// The whole of a process that a host with [`Compiler::Child`](crate::Compiler::Child) starts: takes its bounds and a module from stdin, and
/// gives machine code to stdout, or a sentence to stderr. Call it before anything else is started, as it limits its own process.
pub fn compile_in_child() -> ExitCode {
    let mut out = io::stdout().lock();
    match artefact(&mut io::stdin().lock()).and_then(|artefact| {
        out.write_all(&artefact).and_then(|()| out.flush()).map_err(|error| error.to_string())
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // If stderr is gone too, the exit code must do.
            let _ = writeln!(io::stderr(), "{fault}");
            ExitCode::from(REFUSED)
        }
    }
}

fn artefact(from: &mut impl Read) -> Result<Vec<u8>, String> {
    let bounds = Bounds::read(from).map_err(|error| format!("no bounds came in: {error}"))?;
    bounds.apply().map_err(|error| format!("the compiler cannot bound itself: {error}"))?;
    let mut module = Vec::new();
    from.read_to_end(&mut module).map_err(|error| format!("the module did not come in: {error}"))?;
    let engine = engine().map_err(|error| format!("the WebAssembly engine does not start: {error:#}"))?;
    super::compile(&engine, &module)
}
