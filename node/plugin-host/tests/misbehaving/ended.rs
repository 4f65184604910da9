use mainstem_plugin_abi::plugin_capnp::FailureCode;
use mainstem_plugin_host::{CallError, Fault, LoadError};

/// How a call ended, as the table names it.
pub fn ended(error: &CallError) -> &'static str {
    match error {
        CallError::Failed { code, .. } => failed(*code),
        CallError::Fault { fault, .. } => faulted(fault),
        CallError::Asked { .. } => "asked",
        CallError::Lost { .. } => "lost",
        CallError::Off { .. } | CallError::Busy { .. } | CallError::Host { .. } | _ => "no answer",
    }
}

fn faulted(fault: &Fault) -> &'static str {
    match fault {
        Fault::Trap(_) => "fault.trap",
        Fault::OutOfFuel(_) => "fault.fuel",
        Fault::Deadline(_) => "fault.deadline",
        Fault::Memory(_) => "fault.memory",
        Fault::Reply(_) => "fault.reply",
        _ => "fault of another kind",
    }
}

fn failed(code: FailureCode) -> &'static str {
    match code {
        FailureCode::Unsupported => "failed.unsupported",
        FailureCode::Malformed => "failed.malformed",
        FailureCode::Invalid => "failed.invalid",
        FailureCode::Denied => "failed.denied",
        FailureCode::Unavailable => "failed.unavailable",
        FailureCode::Limit => "failed.limit",
        FailureCode::Internal => "failed.internal",
    }
}

/// How loading ended, as the table names it.
pub fn refused(error: &LoadError) -> String {
    let is = |name: &str, is: bool| is.then(|| format!("load.{name}"));
    let start = |error: &LoadError| matches!(error, LoadError::Start(_));
    let loops = error.to_string().contains("fuel") || error.to_string().contains(" ms");
    let missing = error.to_string().contains("is missing");
    let export = matches!(error, LoadError::Export { .. });
    [
        is("too-large", matches!(error, LoadError::TooLarge { .. })),
        is("not-wasm", matches!(error, LoadError::NotWasm(_) | LoadError::Component)),
        is("no-manifest", matches!(error, LoadError::NoManifest)),
        is("two-manifests", matches!(error, LoadError::Manifests(_))),
        is("manifest", matches!(error, LoadError::Manifest(_))),
        is("abi-major", matches!(error, LoadError::AbiMajor { .. })),
        is("abi-minor", matches!(error, LoadError::AbiMinor { .. })),
        is("abi-differs", matches!(error, LoadError::AbiMismatch { .. })),
        is("compile", matches!(error, LoadError::Compile(_))),
        is("import", matches!(error, LoadError::Import { .. })),
        is("missing-export", export && missing),
        is("export-type", export),
        is("memory", matches!(error, LoadError::Memory { .. })),
        is("table", matches!(error, LoadError::Table(_))),
        is("globals", matches!(error, LoadError::Globals { .. })),
        is("start-loops", start(error) && loops),
    ]
    .into_iter()
    .flatten()
    .next()
    .unwrap_or_else(|| "load.start-traps".into())
}
