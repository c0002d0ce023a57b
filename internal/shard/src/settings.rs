//! The settings of the shard threads.

use latido_settings::{SettingsReader, variables};

use crate::Config;

variables! {
    /// The variables of the shard threads.
    pub const VARIABLES;
    "Server" {
        plain SHARDS "N" = shown("one a core"),
            "Number of threads that own the sockets";
    }
}

impl Config {
    /// Reads the settings of the shard threads.
    pub fn from_settings(r: &mut SettingsReader<'_>) -> Self {
        r.optional_number(&SHARDS, 1..=1_024)
            .map_or_else(Self::default, |threads| Self { threads })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}
