use crate::LoadError;
use mainstem_plugin_abi::names;
use wasmtime::{ExternType, FuncType, Module, ValType};

/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 64 << 10;

/// Characters of an import's name that are told.
const NAME_CHARS_MAX: usize = 100;

/// Whether a module imports and exports what `ABI.md`, "The module", says.
pub(crate) fn check(module: &Module) -> Result<(), LoadError> {
    let (i32, i64) = (ValType::I32, ValType::I64);
    for import in module.imports() {
        let name = shown(&format!("{}.{}", import.module(), import.name()));
        if (import.module(), import.name()) != (names::IMPORT, names::HOST_CALL) {
            return Err(LoadError::Import { name });
        }
        let fits = matches!(import.ty(), ExternType::Func(of) if is(&of, &[&i32, &i32], &[&i64]));
        if !fits {
            return Err(LoadError::Import { name: format!("{name} as another type") });
        }
    }
    check_func(module, names::ABI, &[], &[&i32])?;
    check_func(module, names::ALLOC, &[&i32], &[&i32])?;
    check_func(module, names::FREE, &[&i32, &i32], &[])?;
    check_func(module, names::CALL, &[&i32, &i32], &[&i64])?;
    if module.get_export(names::INITIALIZE).is_some() {
        check_func(module, names::INITIALIZE, &[], &[])?;
    }
    match module.get_export(names::MEMORY) {
        Some(ExternType::Memory(_)) => Ok(()),
        Some(_) => Err(export(names::MEMORY, "is no memory".into())),
        None => Err(export(names::MEMORY, "is missing".into())),
    }
}

/// Bytes of memory that an instance begins with.
pub(crate) fn memory_bytes(module: &Module) -> u64 {
    module
        .get_export(names::MEMORY)
        .and_then(|of| of.memory().map(|of| of.minimum() * PAGE_BYTES))
        .unwrap_or(0)
}

fn check_func(
    module: &Module,
    name: &'static str,
    params: &[&ValType],
    results: &[&ValType],
) -> Result<(), LoadError> {
    match module.get_export(name) {
        Some(ExternType::Func(of)) if is(&of, params, results) => Ok(()),
        Some(ExternType::Func(of)) => Err(export(name, format!("is {of}, not {}", show(params, results)))),
        Some(_) => Err(export(name, "is no function".into())),
        None => Err(export(name, "is missing".into())),
    }
}

fn is(of: &FuncType, params: &[&ValType], results: &[&ValType]) -> bool {
    same(of.params(), params) && same(of.results(), results)
}

fn same(given: impl ExactSizeIterator<Item = ValType>, right: &[&ValType]) -> bool {
    given.len() == right.len() && given.zip(right).all(|(given, right)| ValType::eq(&given, right))
}

fn show(params: &[&ValType], results: &[&ValType]) -> String {
    let list = |of: &[&ValType]| of.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("({}) -> ({})", list(params), list(results))
}

/// A name that a stranger chose, as one short line.
fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn export(name: &'static str, fault: String) -> LoadError {
    LoadError::Export { name, fault }
}
