mod child;
mod spawn;

pub use child::compile_in_child;

use crate::{CompileError, Config, sentence::sentence};
use std::{ffi::OsString, path::PathBuf};
use wasmtime::Engine;

/// Who compiles modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// This process, without bounds of time and memory: for tests, and for modules that one made oneself.
    InProcess,
    /// A process of its own, which [`compile_in_child`] runs in.
    Child {
        /// What to start: this program itself.
        program: PathBuf,
        /// With what, such as a hidden subcommand.
        args: Vec<OsString>,
    },
}

impl Compiler {
    /// Machine code of a module.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        config: &Config,
        module: &[u8],
    ) -> Result<Vec<u8>, CompileError> {
        match self {
            Self::InProcess => compile(engine, module).map_err(CompileError::Refused),
            Self::Child { program, args } => spawn::compile(program, args, config, module),
        }
    }
}

fn compile(engine: &Engine, module: &[u8]) -> Result<Vec<u8>, String> {
    engine.precompile_module(module).map_err(|error| sentence(format!("{error:#}").as_bytes()))
}
