//! The rules of how this repository is laid out, as functions that name what breaks them.
//!
//! What it is: the edges between crates, who may see which library, what the pure crates may not touch, what no file may
//! hold, and that each invariant names its test. Each rule is a function over plain data, so that its own tests show that it can fail; `tests/structure.rs` asks
//! them about the repository. What it is not: a linter of style; clippy and rustfmt are.

mod edges;
mod invariant;
mod text;

pub use edges::{Kind, Package, forbidden_anywhere, forbidden_below, misplaced, undeclared_edges};
pub use invariant::{has_tests, invariants};
pub use text::{forbidden_calls, machine_paths, missing_workspace_lints, too_long, unfinished};
