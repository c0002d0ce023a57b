//! The settings of the database connection.

use latido_base::secret::Secret;
use latido_settings::{SettingsReader, Variable, variables};

use crate::config::Config;
use crate::config::{POOL_SIZE, STATEMENT_TIMEOUT};
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
        plain INTEREST_GATE "BOOL" = bool(true),
            "Makes install create triggers that stay silent about keys that nobody watches. Servers work with either kind";
        plain ROW_SECURITY "BOOL" = bool(false),
            "Reads only the rows that the policies of row-level security show to the role. Otherwise a query that a policy would filter is refused";
        plain LATIDO_INSTANCE "NAME" = shown("latido"),
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

fn url(r: &mut SettingsReader<'_>, variable: &Variable) -> Option<Secret> {
    r.parse(variable, EXPECTED_URL, database_url)
        .map(Secret::new)
}

/// Checks the scheme and the characters of a PostgreSQL URL. The driver parses the rest later.
fn database_url(text: &str) -> Option<&str> {
    let rest = text
        .strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))?;
    (!rest.is_empty() && !text.contains(char::is_whitespace)).then_some(text)
}

#[cfg(test)]
mod tests {
    use latido_settings::ConfigSources;

    use super::*;

    #[test]
    fn only_postgres_urls_are_accepted() {
        assert!(database_url("postgresql://u:p@h:6543/db?sslmode=require").is_some());
        assert_eq!(
            ["mysql://h/db", "postgres://", "h/db", "postgres://h /db"].map(database_url),
            [None; 4]
        );
    }

    #[test]
    fn unset_variables_give_the_default_postgres_configuration() {
        let sources = ConfigSources::default();
        let config = Config::from_settings(&mut SettingsReader::new(&sources));
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }
}
