//! The few settings of `latido try`. Those of a server need not be there, and may be wrong.

use latido_http as http;
use latido_postgres as postgres;
use latido_settings::{ConfigErrors, ConfigSources, SettingsReader};
use latido_telemetry as telemetry;

use crate::config::variables::TIMEZONE;

/// The connections of the pool: one for the query, and one for what is asked beside it.
const POOL_SIZE: usize = 2;

/// The settings of `latido try`.
#[derive(Debug)]
pub struct TrySettings {
    /// The connection to the database, for transactions that only read.
    pub postgres: postgres::Config,
    /// The port of the page, if it is set.
    pub port: Option<u16>,
    /// The IANA zone in which the current day begins.
    pub time_zone: String,
    /// The log filter of `RUST_LOG`.
    pub log_filter: Option<String>,
}

impl TrySettings {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// Returns all errors together.
    pub fn read(sources: &ConfigSources) -> Result<Self, ConfigErrors> {
        let mut reader = SettingsReader::new(sources);
        let r = &mut reader;
        let postgres = postgres::Config::from_settings(r);
        postgres::require_url(r);
        let port = http::read_port(r);
        let time_zone = r.time_zone(&TIMEZONE, "America/Guayaquil");
        let log_filter = telemetry::read_log_filter(r);
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        Ok(Self {
            postgres: postgres::Config {
                listen_url: None,
                pool_size: POOL_SIZE,
                read_only: true,
                single_transactions: true,
                // A role with policies sees its rows; the page says so.
                row_security: true,
                application_name: "latido try".to_owned(),
                ..postgres
            },
            port,
            time_zone: time_zone.unwrap_or_else(|| "UTC".to_owned()),
            log_filter,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<TrySettings, ConfigErrors> {
        TrySettings::read(&ConfigSources::from_variables(variables))
    }

    #[test]
    fn settings_of_a_server_are_not_read() {
        let settings = read(&[
            ("DATABASE_URL", "postgresql://u@h/db"),
            ("HOST", "0.0.0.0"),
            ("JWT_SECRET", "short"),
            ("LATIDO_CONFIG", "missing.toml"),
        ]);
        let settings = settings.unwrap();
        assert_eq!((settings.port, &*settings.time_zone), (None, "UTC"));
        assert!(settings.postgres.read_only && settings.postgres.single_transactions);
    }

    #[test]
    fn database_is_required() {
        let errors = read(&[("PORT", "x")]).unwrap_err().to_string();
        assert!(
            errors.contains("DATABASE_URL: missing") && errors.contains("PORT"),
            "{errors}"
        );
    }
}
