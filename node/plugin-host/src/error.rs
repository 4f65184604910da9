use crate::PluginId;
use mainstem_plugin_abi::{ManifestError, Version, plugin_capnp::FailureCode};

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A bound that cannot be.
    #[error("{0}")]
    Config(String),
    /// This machine cannot run WebAssembly as it must be run.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The folder for compiled modules.
    #[error("the folder for compiled plugins, {path}, cannot be used: {fault}")]
    Cache {
        /// Where it should be.
        path: String,
        /// What is wrong.
        fault: std::io::Error,
    },
    /// No thread to keep time.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
}

/// Why a module is no plugin of this node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It is too large.
    #[error(
        "the module has {bytes} bytes, more than plugins.module_bytes_max, {max}: build it smaller, for example without debug information"
    )]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// It is something else, or damaged.
    #[error("this is no WebAssembly module: {0}")]
    NotWasm(String),
    /// It is of the component model.
    #[error(
        "this is a WebAssembly component: a plugin is a core module, so build it for wasm32-unknown-unknown"
    )]
    Component,
    /// No section with a manifest.
    #[error(
        "the module has no manifest (custom section mainstem.manifest): build it with `mainstem plugin build`"
    )]
    NoManifest,
    /// More than one section with a manifest.
    #[error("the module has {0} manifests: build it again with `mainstem plugin build`, which writes one")]
    Manifests(usize),
    /// A manifest that is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Another major version.
    #[error("the plugin is built for ABI {plugin} and this node has {node}: build it with an SDK for {}.x", node.major)]
    AbiMajor {
        /// What it is built for.
        plugin: Version,
        /// What the node has.
        node: Version,
    },
    /// It needs calls that are newer than this node.
    #[error(
        "the plugin needs ABI {least} at least and this node has {node}: use a newer version of Mainstem"
    )]
    AbiMinor {
        /// What it needs.
        least: Version,
        /// What the node has.
        node: Version,
    },
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It imports something that there is not.
    #[error("the module imports {name}: a plugin has mainstem.host_call alone, as (i32, i32) -> i64")]
    Import {
        /// Module and name, with its type if the name is right.
        name: String,
    },
    /// An export is missing or is of another type.
    #[error("the module's export {name} {fault}: see plugin-api/ABI.md, \"The module\"")]
    Export {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        fault: String,
    },
    /// Its memory is larger than what it gets, from the beginning.
    #[error("the module begins with {bytes} bytes of memory and gets {max}: {remedy}")]
    Memory {
        /// What it begins with.
        bytes: u64,
        /// What it gets.
        max: u64,
        /// What to do.
        remedy: String,
    },
    /// Its tables are larger or more than what it gets, from the beginning.
    #[error("the module begins with {0}: build it with smaller tables")]
    Table(String),
    /// It has too many global variables.
    #[error("the module has {count} global variables, more than {max}: keep them in memory")]
    Globals {
        /// How many.
        count: u32,
        /// The bound.
        max: u32,
    },
    /// No instance can be made.
    #[error("no instance of the module can be made: {0}")]
    Start(String),
    /// `mainstem_abi` and the manifest say different things.
    #[error(
        "the module says that it is built for ABI {module}, its manifest {manifest}: build it again with `mainstem plugin build`"
    )]
    AbiMismatch {
        /// What `mainstem_abi` gives.
        module: Version,
        /// What the manifest says.
        manifest: Version,
    },
}

/// Why a module cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The compiler refuses it: it is not valid, or uses an extension that plugins may not use.
    #[error("the module does not compile: {0}")]
    Refused(String),
    /// It took too long.
    #[error(
        "the module did not compile within plugins.compile_seconds_max, {0} s: build it smaller, or split its largest functions"
    )]
    Deadline(u32),
    /// The compiler's process ended without a word.
    #[error(
        "the compiler of plugins ended with {0}: the module may need more than plugins.compile_memory_bytes_max"
    )]
    Ended(String),
    /// The compiler's process cannot be started or talked to.
    #[error("the compiler of plugins cannot be run: {0}")]
    Spawn(std::io::Error),
    /// What came back is no compiled module of this program.
    #[error("the compiler of plugins gave what this program cannot use: {0}")]
    Artefact(String),
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The plugin's own answer. Its instance lives on.
    #[error("plugin {plugin} answers {}: {message}", code_name(*.code))]
    Failed {
        /// Its name.
        plugin: String,
        /// For programs.
        code: FailureCode,
        /// For people; up to 1,024 bytes.
        message: String,
    },
    /// The plugin broke a rule or a limit. Its instance is gone.
    #[error("plugin {plugin} is at fault: {fault}")]
    Fault {
        /// Its name.
        plugin: String,
        /// How.
        fault: Fault,
    },
    /// It is switched off.
    #[error("plugin {plugin} is switched off: {reason}")]
    Off {
        /// Its name.
        plugin: String,
        /// Why, and what to do.
        reason: String,
    },
    /// All its instances were busy for the whole of a call's time.
    #[error(
        "plugin {plugin} is busy: all its {instances} instances are in use, so try again later or raise plugins.instances_max"
    )]
    Busy {
        /// Its name.
        plugin: String,
        /// How many it has.
        instances: usize,
    },
    /// The instance of an operator or a storage went with an earlier fault.
    #[error(
        "the instance of plugin {plugin} is gone after a fault: start an operator again and restore its last snapshot; of a storage \
         open the log again, as a node does when it is started"
    )]
    Lost {
        /// Its name.
        plugin: String,
    },
    /// What is asked for does not fit what the plugin's manifest claims. The plugin was not called.
    #[error("plugin {plugin} was not called: {fault}")]
    Asked {
        /// Its name.
        plugin: String,
        /// What does not fit.
        fault: String,
    },
    /// This machine has no room for one more instance.
    #[error("no instance of plugin {plugin} can be made now: {fault}")]
    Host {
        /// Its name.
        plugin: String,
        /// What is missing.
        fault: String,
    },
}

/// How a plugin broke a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It trapped.
    #[error("it trapped: {0}")]
    Trap(String),
    /// A call used up its fuel.
    #[error(
        "a call used up its fuel, {0}: ask for more in the manifest's limits.fuel, up to plugins.fuel_max, or send fewer items at \
         once"
    )]
    OutOfFuel(u64),
    /// A call took too long.
    #[error(
        "a call took more than {0} ms: ask for more in the manifest's limits.deadline_ms, up to plugins.deadline_ms_max, or send \
         fewer items at once"
    )]
    Deadline(u32),
    /// `mainstem_alloc` gives no place.
    #[error("it gives no memory: {0}")]
    Memory(String),
    /// Its reply is not as it must be.
    #[error("it broke a rule of the ABI: {0}")]
    Reply(String),
}

/// As `ABI.md` writes it.
pub(crate) const fn code_name(code: FailureCode) -> &'static str {
    match code {
        FailureCode::Unsupported => "unsupported",
        FailureCode::Malformed => "malformed",
        FailureCode::Invalid => "invalid",
        FailureCode::Denied => "denied",
        FailureCode::Unavailable => "unavailable",
        FailureCode::Limit => "limit",
        FailureCode::Internal => "internal",
    }
}

/// Text of an id that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no plugin: write its SHA-256 as 64 hex digits, such as {zero}", zero = PluginId([0; 32]))]
pub struct PluginIdError(pub(crate) String);
