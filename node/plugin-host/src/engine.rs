use mainstem_crypto::Sha256;
use std::hash::{Hash, Hasher};
use wasmtime::{Engine, Error, WasmBacktraceDetails, wasmparser::WasmFeatures};

/// Bytes of stack of a call. More of it traps.
const STACK_BYTES_MAX: usize = 512 << 10;

/// `ABI.md`, "The module". Reference types are those of functions: there is nothing else to refer to.
const FEATURES: WasmFeatures = WasmFeatures::FLOATS
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::WIDE_ARITHMETIC);

/// The one engine of a host. The process that compiles makes the same, so nothing of it comes from configuration.
pub(crate) fn engine() -> Result<Engine, Error> {
    let mut config = wasmtime::Config::new();
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        .consume_fuel(true)
        .epoch_interruption(true)
        // What a module computes is the same on every machine.
        .cranelift_nan_canonicalization(true)
        .max_wasm_stack(STACK_BYTES_MAX)
        // Otherwise the environment decides.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false);
    Engine::new(&config)
}

/// What a compiled module depends on beside the module: this version of the compiler, its settings and this processor.
pub(crate) fn compiled_by(engine: &Engine) -> [u8; 32] {
    let mut hasher = Sha256Hasher(Sha256::default());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finish()
}

/// A `Hasher` that keeps all of what it is given apart: 64 bits would be few for what native code depends on.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.clone().finish();
        hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
