use crate::{
    Ambient, Compiler, Config, ContractReads, Grants, HostCounters, HostError, LoadError, Manifest, Plugin,
    PluginId, SystemAmbient,
    cache::Cache,
    capability::{Privileges, Surroundings, http::Web},
    clock::Clock,
    contract_reads::NoChain,
    engine::{compiled_by, engine},
    host_call::linker,
    inspect,
    instance::State,
    native,
    plugin::{Parts, bounds},
    section::{check_beside_memory, check_version},
    shape,
    ticker::Ticker,
};
use mainstem_plugin_abi::Version;
use parking_lot::Mutex;
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use wasmtime::{Engine, Linker, Module};

/// Loads plugins. Cheap to clone; all clones are one host, which lives as long as any of its plugins.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    config: Config,
    compiler: Compiler,
    cache: Option<Cache>,
    surroundings: Surroundings,
    engine: Engine,
    linker: Linker<State>,
    ticker: Arc<Ticker>,
    clock: Clock,
    /// One module is compiled at a time, so that what compiling takes is bounded for all together.
    compiling: Mutex<()>,
    compiled: AtomicU64,
    cached: AtomicU64,
}

impl Host {
    /// A host with the system's clock and randomness. Compiled modules are kept in `cache_dir`, which must be this user's alone.
    ///
    /// # Errors
    /// Bounds that cannot be, a folder that cannot be used, a machine that cannot run WebAssembly.
    pub fn new(config: Config, cache_dir: Option<PathBuf>, compiler: Compiler) -> Result<Self, HostError> {
        Self::with_ambient(config, cache_dir, compiler, Arc::new(SystemAmbient))
    }

    /// The same with another clock and randomness.
    ///
    /// # Errors
    /// As [`Host::new`].
    pub fn with_ambient(
        config: Config,
        cache_dir: Option<PathBuf>,
        compiler: Compiler,
        ambient: Arc<dyn Ambient>,
    ) -> Result<Self, HostError> {
        config.check()?;
        let fault = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = engine().map_err(fault)?;
        let cache = cache_dir.map(|folder| Cache::open(folder, compiled_by(&engine))).transpose()?;
        let web = Arc::new(Web::new(config.http_requests_max));
        Ok(Self(Arc::new(Inner {
            config,
            compiler,
            cache,
            surroundings: Surroundings { ambient, contracts: Arc::new(NoChain), web },
            linker: linker(&engine).map_err(fault)?,
            ticker: Arc::new(Ticker::start(engine.clone()).map_err(HostError::Thread)?),
            engine,
            clock: Clock::start(),
            compiling: Mutex::new(()),
            compiled: AtomicU64::new(0),
            cached: AtomicU64::new(0),
        })))
    }

    /// The same with a chain to read. Without one, plugins that have `chain` are told that there is none.
    ///
    /// # Panics
    /// If it was cloned, or has loaded a plugin: this belongs to making it.
    #[must_use]
    pub fn with_contracts(mut self, contracts: Arc<dyn ContractReads>) -> Self {
        let inner = Arc::get_mut(&mut self.0).expect("a host that was just made is nobody else's");
        inner.surroundings.contracts = contracts;
        self
    }

    /// Makes a plugin of a module. It takes as long as compiling does, unless that was done before.
    ///
    /// # Errors
    /// The first thing that is not as `ABI.md` says; cheap checks come first.
    pub fn load(&self, module: &[u8], grants: Grants) -> Result<Plugin, LoadError> {
        let config = &self.0.config;
        if module.len() > config.module_bytes_max {
            return Err(LoadError::TooLarge { bytes: module.len(), max: config.module_bytes_max });
        }
        let (id, manifest) = inspect(module)?;
        check_version(&manifest)?;
        let compiled = self.compiled(id, module)?;
        shape::check(&compiled)?;
        check_memory(&compiled, &manifest, config)?;
        check_beside_memory(module, config.table_elements_max)?;
        let start = |error: wasmtime::Error| LoadError::Start(format!("{error:#}"));
        let pre = self.0.linker.instantiate_pre(&compiled).map_err(start)?;
        let (granted, surroundings) = (grants.of(&manifest), self.0.surroundings.clone());
        let (name, hosts, files) = (manifest.name.clone(), grants.http_hosts.clone(), grants.files.clone());
        let privileges = Arc::new(Privileges::new(name, granted, hosts, files, surroundings, config));
        let (ticker, clock) = (Arc::clone(&self.0.ticker), self.0.clock);
        let plugin = Plugin::new(Parts { id, manifest, grants, pre, privileges, ticker, clock }, config);
        let module = Version::from_u32(plugin.first_abi().map_err(LoadError::Start)?);
        let manifest = plugin.manifest().abi;
        if module != manifest {
            return Err(LoadError::AbiMismatch { module, manifest });
        }
        Ok(plugin)
    }

    /// What it has done.
    pub fn counters(&self) -> HostCounters {
        HostCounters { compiled: self.0.compiled.load(Relaxed), cached: self.0.cached.load(Relaxed) }
    }

    /// Its bounds.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    fn compiled(&self, id: PluginId, module: &[u8]) -> Result<Module, LoadError> {
        let inner = &*self.0;
        let _one = inner.compiling.lock();
        if let Some(artefact) = inner.cache.as_ref().and_then(|cache| cache.read(id)) {
            match native::module(&inner.engine, &artefact) {
                Ok(module) => {
                    inner.cached.fetch_add(1, Relaxed);
                    return Ok(module);
                }
                Err(error) => {
                    tracing::warn!(%id, %error, "compiled plugin does not fit and will be compiled again")
                }
            }
        }
        let artefact = inner.compiler.compile(&inner.engine, &inner.config, module)?;
        let unfit = |error: wasmtime::Error| crate::CompileError::Artefact(format!("{error:#}"));
        let compiled = native::module(&inner.engine, &artefact).map_err(unfit)?;
        inner.compiled.fetch_add(1, Relaxed);
        if let Some(cache) = &inner.cache {
            cache.write(id, &artefact);
        }
        Ok(compiled)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("config", &self.0.config)
            .field("cache", &self.0.cache)
            .finish_non_exhaustive()
    }
}

fn check_memory(module: &Module, manifest: &Manifest, config: &Config) -> Result<(), LoadError> {
    let (bytes, max) = (shape::memory_bytes(module), bounds(&manifest.limits, config).memory_bytes);
    if bytes <= max {
        return Ok(());
    }
    let remedy = if bytes <= config.memory_bytes_max {
        format!(
            "ask for as much in the manifest's limits.memory_bytes; {} is the most",
            config.memory_bytes_max
        )
    } else {
        "build it with less, or raise plugins.memory_bytes_max".into()
    };
    Err(LoadError::Memory { bytes, max, remedy })
}
