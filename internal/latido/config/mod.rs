//! The configuration: the purpose of a command, the settings it requires, and the stream file.
//!
//! Each part reads its own settings; this module collects their variables and calls them. Precedence,
//! highest first: flag, environment, `.env`, `latido.toml`, default.

mod app_settings;
#[cfg(all(test, feature = "apps"))]
mod app_settings_tests;
mod builtin;
mod fixed_fields;
mod flags;
mod purpose;
mod repeated_stream;
mod settings;
mod stream_file;
mod stream_folder;
mod stream_params;
mod stream_parser;
mod stream_tables;
mod stream_toml;
mod toml_fields;
mod try_settings;
mod variables;

pub use app_settings::EnabledApp;
pub(crate) use builtin::{BUILTIN_REMEDY, builtin_reads, is_builtin};
pub use fixed_fields::FixedFields;
pub use flags::Flags;
pub use latido_http::raise_open_file_limit;
pub use latido_settings::{ConfigErrors, ConfigSources, duration, markdown_page, plain_table};
pub use purpose::Purpose;
pub use settings::Settings;
#[cfg(any(test, fuzzing))]
pub(crate) use stream_file::parse_streams;
pub(crate) use stream_file::{defined_streams, query_stream};
pub(crate) use stream_parser::read_text;
pub(crate) use stream_toml::{missing_part, stream_entry};
pub use try_settings::TrySettings;
pub use variables::all_variables;
