//! The command as a newcomer meets it: the real binary, an empty environment, and what it says.

mod database;
mod demo;
mod following;
mod secrets;
mod serving;
mod settings;

use crate::harness::claims::SECRET;
use crate::harness::cluster::TestDatabase;
use crate::harness::{Home, Running};

/// A server's variables: everything that it needs, and a password that nobody asks for but that must not be shown.
fn variables(url: &str) -> Vec<(&'static str, String)> {
    let url = url.replacen("postgres@", "postgres:open-sesame@", 1);
    let fixed = [
        ("JWT_SECRET", SECRET),
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("TIMEZONE", "America/Guayaquil"),
        ("SHUTDOWN_SECONDS", "4"),
    ];
    fixed
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .chain([("DATABASE_URL", url)])
        .collect()
}

fn borrowed<'a>(variables: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

/// A database with the real user's schema, and everything to run commands on it.
struct Place {
    home: Home,
    database: TestDatabase,
    variables: Vec<(&'static str, String)>,
}

impl Place {
    async fn new() -> Self {
        let database = TestDatabase::create(&["sql/schema.sql", "tests/it/sql/people.sql"]).await;
        Self {
            home: Home::new(),
            variables: variables(database.url()),
            database,
        }
    }

    /// With another variable, which wins over one of that name.
    fn with<'a>(&'a self, more: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
        borrowed(&self.variables)
            .into_iter()
            .chain(more.iter().copied())
            .collect()
    }

    async fn print(&self, arguments: &[&str]) -> String {
        self.home.print(arguments, &self.with(&[])).await
    }

    fn start(&self, arguments: &[&str], more: &[(&'static str, &str)]) -> Running {
        self.home.start(arguments, &self.with(more))
    }

    /// What `latido token` prints for a user who may watch these businesses.
    async fn token(&self, negocio: &str) -> String {
        self.print(&["token", "--user", "ana", "--negocio", negocio])
            .await
            .trim()
            .to_owned()
    }
}
