//! The configuration: the only module that reads flags, the environment, `.env` and `latido.toml`.
//!
//! Precedence, highest first: flag, environment, `.env`, `latido.toml`, default. All errors are
//! reported together, each with the setting's name and the expected value. The value of a secret is
//! never shown.

mod apps;
mod builtin;
mod errors;
mod flags;
mod parse;
mod rlimit;
mod settings;
mod settings_reader;
mod sources;
mod stream_file;
mod variables;

pub use apps::EnabledApp;
pub use errors::{ConfigError, ConfigErrors};
pub use flags::Flags;
pub use parse::duration;
pub use rlimit::raise_open_file_limit;
pub use settings::{
    AuthSettings, DatabaseSettings, EngineSettings, LimitSettings, Purpose, ServerSettings,
    Settings,
};
pub use sources::ConfigSources;
#[cfg(any(test, fuzzing))]
pub(crate) use stream_file::parse_streams;
pub use variables::{VARIABLES, Variable};
