use wasmtime::{Engine, Module};

/// Makes machine code from [`precompile`](wasmtime::Engine::precompile_module) runnable. The one place of this crate that trusts bytes.
#[expect(unsafe_code, reason = "wasmtime runs what it is given here")]
pub(crate) fn module(engine: &Engine, artefact: &[u8]) -> Result<Module, wasmtime::Error> {
    // SAFETY: the artefact was made by this program: in this process, by its own child over a pipe that nobody else holds, or
    // earlier and kept in a folder that only the node's user may write to, under the hash of the module and of everything
    // that compiling depends on, with a hash of itself that was just checked. wasmtime checks version and settings again.
    unsafe { Module::deserialize(engine, artefact) }
}
