//! The settings of the database connection.

use std::time::Duration;

use latido_base::secret::Secret;
use latido_settings::{SettingsReader, Variable, variables};

use crate::config::Config;
use crate::config::{POOL_SIZE, STATEMENT_TIMEOUT};
use crate::connect::Endpoint;
use crate::instance::InstanceName;

const EXPECTED_URL: &str = "postgresql://user:password@host:port/database";
const EXPECTED_INSTANCE: &str =
    "1 to 24 lower-case letters, digits and _, beginning with a letter, such as latido_2";

variables! {
    /// The variables of the database connection.
    pub const VARIABLES;
    "Database" {
        secret DATABASE_URL "URL" = none,
            "Address of the database: postgresql://user:password@host:port/database?sslmode=require. A transaction pooler (port 6543) works";
        secret LISTEN_DATABASE_URL "URL" = shown("DATABASE_URL"),
            "Direct address of the same database, for LISTEN, which does not work through a transaction pooler";
        plain DATABASE_POOL_SIZE "N" = usize(POOL_SIZE),
            "Maximum number of connections for reading; the listener's connection is not counted";
        plain STATEMENT_TIMEOUT_SECONDS "SECONDS" = seconds(STATEMENT_TIMEOUT),
            "Maximum time of one statement";
        plain SLEEP_AFTER_SECONDS "SECONDS" = shown("never"),
            "Time without viewers after which all connections to the database are closed, so that a database that suspends when idle can do so. The next subscription, request or hook opens them again";
        plain INTEREST_GATE "BOOL" = bool(true),
            "Makes install create triggers that stay silent about keys that nobody watches. Servers work with either kind";
        plain ROW_SECURITY "BOOL" = bool(false),
            "Reads only the rows that the policies of row-level security show to the role. Otherwise a query that a policy would filter is refused";
        plain LATIDO_INSTANCE "NAME" = shown("latido; demo: latido_demo"),
            "Name of this installation: the schema of its functions and the prefix of its triggers. Two deployments on one database need two names";
    }
}

impl Config {
    /// Reads the settings of the database connection. Both URLs may be missing.
    pub fn from_settings(r: &mut SettingsReader<'_>) -> Self {
        Self {
            url: url(r, &DATABASE_URL),
            listen_url: url(r, &LISTEN_DATABASE_URL),
            pool_size: r.number(&DATABASE_POOL_SIZE, 1..=1_000),
            statement_timeout: r.seconds(&STATEMENT_TIMEOUT_SECONDS, 1..=600),
            sleep_after: r
                .optional_number(&SLEEP_AFTER_SECONDS, 1..=604_800)
                .map(Duration::from_secs),
            interest_gate: r.boolean(&INTEREST_GATE),
            row_security: r.boolean(&ROW_SECURITY),
            instance: r
                .parse(&LATIDO_INSTANCE, EXPECTED_INSTANCE, InstanceName::parse)
                .unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// Records an error if no database is configured, for commands that need one.
pub fn require_url(r: &mut SettingsReader<'_>) {
    r.require(&DATABASE_URL, EXPECTED_URL);
}

/// Records an error if the connections are to sleep, because `app` uses the database by itself.
pub fn refuse_sleep(r: &mut SettingsReader<'_>, app: &str) {
    if r.text(&SLEEP_AFTER_SECONDS).is_some() {
        let message = format!(
            "the app {app} uses the database by itself, so that it never sleeps; expected no value"
        );
        r.errors.add(SLEEP_AFTER_SECONDS.name, message);
    }
}

/// Reads a URL and records every mistake in it, also in the certificates that it names.
fn url(r: &mut SettingsReader<'_>, variable: &Variable) -> Option<Secret> {
    let text = r.text(variable)?;
    match Endpoint::parse(text, &Config::default()) {
        Ok(_) => Some(Secret::new(text)),
        Err(mistakes) => {
            for mistake in mistakes {
                r.errors.add(variable.name, mistake.to_string());
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use latido_settings::ConfigSources;

    use super::*;

    #[test]
    fn all_mistakes_of_urls_are_reported_together() {
        let sources = ConfigSources::from_variables(&[
            (
                "DATABASE_URL",
                "postgresql://u:p@h:6543/db?sslmode=on&nonsense=1&sslidentity=a.p12",
            ),
            ("LISTEN_DATABASE_URL", "mysql://h/db"),
        ]);
        let r = &mut SettingsReader::new(&sources);
        assert!(Config::from_settings(r).url.is_none());
        assert_eq!(
            r.errors.to_string(),
            "4 mistakes in the configuration:\
             \n  DATABASE_URL: parameter `sslmode`: expected disable, allow, prefer, require, verify-ca or verify-full\
             \n  DATABASE_URL: unknown parameter `nonsense`\
             \n  DATABASE_URL: parameter `sslidentity` is not supported; expected sslcert and sslkey, two files in PEM form\
             \n  LISTEN_DATABASE_URL: expected postgresql://user:password@host:port/database"
        );
    }

    #[test]
    fn unset_variables_give_the_default_postgres_configuration() {
        let sources = ConfigSources::default();
        let config = Config::from_settings(&mut SettingsReader::new(&sources));
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }
}
