//! The one place that reads flags, the environment, `.env` and `latido.toml`.
//!
//! A flag wins over the environment, the environment over `.env`, `.env` over `latido.toml`, and that over the default. All mistakes are
//! told at once, each with its name and what was expected; the value of a secret never.

mod apps;
mod builtin;
mod flags;
mod mistake;
mod open_files;
mod reader;
mod settings;
mod sources;
mod stream_file;
mod value;
mod variable;

pub use apps::WantedApp;
pub use flags::Flags;
pub use mistake::{Mistake, Mistakes};
pub use open_files::raise_open_file_limit;
pub use settings::{Auth, Database, Engine, Limits, Purpose, Server, Settings};
pub use sources::Sources;
#[cfg(any(test, fuzzing))]
pub(crate) use stream_file::parse_streams;
pub use value::duration;
pub use variable::{VARIABLES, Variable};
