//! The command-line program as a new user runs it: the real binary in an empty environment.

mod adding;
mod database;
mod demo;
mod demo_services;
mod hostile_names;
mod logging;
mod migrations;
mod secrets;
mod serving;
mod settings;
mod trying;
mod types;
mod version;
mod watching;

use crate::harness::claims::SECRET;
use crate::harness::cluster::TestDatabase;
use crate::harness::{CommandHome, RunningCommand};

/// Returns the variables of a server: all that it needs, and a password that no output may contain.
fn variables(url: &str) -> Vec<(&'static str, String)> {
    let url = url.replacen("postgres@", "postgres:open-sesame@", 1);
    let fixed = [
        ("JWT_SECRET", SECRET),
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("TIMEZONE", "America/Guayaquil"),
        ("SHUTDOWN_SECONDS", "60"),
    ];
    fixed
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .chain([("DATABASE_URL", url)])
        .collect()
}

fn borrow_values<'a>(variables: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

/// A database with the real schema, and a home folder in which to run commands on it.
struct CommandSetup {
    home: CommandHome,
    database: TestDatabase,
    variables: Vec<(&'static str, String)>,
}

impl CommandSetup {
    async fn new() -> Self {
        let database = TestDatabase::create(&["sql/schema.sql", "tests/it/sql/people.sql"]).await;
        Self {
            home: CommandHome::new(),
            variables: variables(database.url()),
            database,
        }
    }

    /// Returns the variables with additional ones, which override those of the same name.
    fn with_variables<'a>(
        &'a self,
        more: &[(&'static str, &'a str)],
    ) -> Vec<(&'static str, &'a str)> {
        borrow_values(&self.variables)
            .into_iter()
            .chain(more.iter().copied())
            .collect()
    }

    async fn print(&self, arguments: &[&str]) -> String {
        self.home
            .run_for_stdout(arguments, &self.with_variables(&[]))
            .await
    }

    fn start(&self, arguments: &[&str], more: &[(&'static str, &str)]) -> RunningCommand {
        self.home.start(arguments, &self.with_variables(more))
    }

    /// Runs `latido token` for a user who may read these businesses, and returns the token.
    async fn token(&self, negocio: &str) -> String {
        self.print(&["token", "--user", "ana", "--negocio", negocio])
            .await
            .trim()
            .to_owned()
    }
}
