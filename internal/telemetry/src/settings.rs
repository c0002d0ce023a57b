//! The setting of the log filter.

use latido_settings::{SettingsReader, variables};

use crate::logs::DEFAULT_LEVEL;

variables! {
    /// The variables of logging.
    pub const VARIABLES;
    "Logs" {
        plain RUST_LOG "FILTER" = shown(DEFAULT_LEVEL),
            "What is logged: error, warn, info, debug, trace, or per module (latido::engine=debug). Readable on a terminal, JSON otherwise";
    }
}

/// Reads the log filter. Returns `None` if it is unset.
pub fn read_log_filter(r: &SettingsReader<'_>) -> Option<String> {
    r.text(&RUST_LOG).map(ToOwned::to_owned)
}
