//! The configuration: the only module that reads flags, the environment, `.env` and `latido.toml`.
//!
//! Precedence, highest first: flag, environment, `.env`, `latido.toml`, default. All errors are
//! reported together, each with the setting's name and the expected value. The value of a secret is
//! never shown.

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

pub use apps::EnabledApp;
pub use flags::Flags;
pub use mistake::{ConfigError, ConfigErrors};
pub use open_files::raise_open_file_limit;
pub use settings::{AuthSettings, DatabaseSettings, EngineSettings, LimitSettings, Purpose, ServerSettings, Settings};
pub use sources::ConfigSources;
#[cfg(any(test, fuzzing))]
pub(crate) use stream_file::parse_streams;
pub use value::duration;
pub use variable::{VARIABLES, Variable};
