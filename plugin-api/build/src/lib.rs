//! Makes a plugin out of a module: reads `plugin.toml`, and writes it into the module as the manifest that nodes read.
//!
//! It compiles nothing and runs nothing. `mainstem plugin build` and `tools/plugins.sh` stand on it.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manifest = mainstem_plugin_build::parse(
//!     r#"
//!     name = "ed25519"
//!     version = "0.1.0"
//!     description = "Ed25519 signatures"
//!     abi = "1.1"
//!
//!     [signature]
//!     type = 17
//!     origin_types = [17]
//!     "#,
//! )?;
//! let module = b"\0asm\x01\0\0\0";
//! let plugin = mainstem_plugin_build::attach(module, &manifest)?;
//! assert_eq!(mainstem_plugin_build::find(&plugin)?, Some(&manifest.encode()?[..]));
//! # Ok(())
//! # }
//! ```

mod configure;
mod section;
mod toml;

pub use configure::{ConfigureError, configure};
pub use section::{AttachError, attach, find};
pub use toml::{TomlError, parse};
