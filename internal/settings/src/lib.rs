//! The settings: the table of variables, their sources, and the reader that collects all errors.
//!
//! Each module declares its own variables with [`variables!`] and reads its own `Config` from a
//! [`SettingsReader`]. A default stands once, in the module that uses it: the table shows the same
//! constant that the reader returns. No other crate reads flags, the environment or `.env`.
//!
//! All errors are reported together, each with the setting's name and the expected value. The value
//! of a secret is never shown.

mod errors;
mod page;
mod parse;
mod regular_file;
mod secret_file;
mod settings_reader;
mod sources;
mod variable;

pub use errors::{ConfigErrors, SettingError};
pub use page::{markdown_page, plain_table};
pub use parse::{duration, list, time_zone};
pub use regular_file::{
    FileError, MAX_PEM_BYTES, MAX_TEXT_BYTES, read_regular_file, read_regular_text,
};
pub use settings_reader::SettingsReader;
pub use sources::ConfigSources;
pub use variable::{Setting, ShownDefault, Variable};
