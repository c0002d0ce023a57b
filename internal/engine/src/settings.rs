//! The settings of database reads.

use latido_settings::{SettingsReader, variables};

use crate::config::{Config, HISTORY_ROWS, SWEEP_INTERVAL};
use crate::read_pacing::READ_INTERVAL;
use latido_stream::HistoryLimits;

variables! {
    /// The variables of database reads.
    pub const VARIABLES;
    "Streams" {
        plain SWEEP_SECONDS "SECONDS" = seconds(SWEEP_INTERVAL),
            "Interval at which all watched keys are read again, whether or not a change was reported";
        plain READ_INTERVAL_MS "MILLISECONDS" = milliseconds(READ_INTERVAL),
            "Shortest time between two reads of one key during many changes. The first change is read at once, and keys that are slow to read wait longer";
        plain HISTORY_MAX_ROWS "N" = u32(HISTORY_ROWS),
            "Maximum number of rows of the history of one channel. Of a longer one, clients get the first rows";
    }
}

impl Config {
    /// Reads the settings of database reads.
    pub fn from_settings(r: &mut SettingsReader<'_>) -> Self {
        let defaults = Self::default();
        let sweep = r.seconds(&SWEEP_SECONDS, 1..=86_400);
        let history = HistoryLimits {
            rows: r.number(&HISTORY_MAX_ROWS, 1..=100_000),
            ..defaults.history
        };
        Self {
            pacing: defaults
                .pacing
                .with_interval(r.milliseconds(&READ_INTERVAL_MS, 0..=60_000)),
            sweep,
            sweep_without_notifications: defaults.sweep_without_notifications.min(sweep),
            history,
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use latido_settings::ConfigSources;

    use super::*;

    #[test]
    fn unset_variables_give_the_default_engine_configuration() {
        let sources = ConfigSources::default();
        let config = Config::from_settings(&mut SettingsReader::new(&sources));
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }
}
