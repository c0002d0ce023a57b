//! Installs the triggers that a catalog needs, inspects them, and removes them completely.

mod error;
pub(super) mod generate;
pub(super) mod resolve;
mod state;

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

pub use error::InstallError;
pub use state::{TableTriggers, TriggerState, Triggers};

use crate::install::generate::{SCHEMA, Section, script, sections};
use crate::install::state::Installed;
use crate::pool::Database;
use crate::quote::literal;
use latido_stream::Catalog;

/// The settings of the installing transaction. The lock time-out is shorter than the server's
/// `deadlock_timeout` of 1 s: in a conflict with a writer's locks, the installation gives up before
/// the server picks a victim. `search_path` prevents accidental name resolution.
const SETTINGS: &str = "SET LOCAL lock_timeout = '800ms';\nSET LOCAL statement_timeout = '60s';\n\
                        SET LOCAL client_min_messages = warning;\nSET LOCAL search_path = pg_catalog;";

/// The lock that prevents two installations at the same time.
const ALONE: &str = "SELECT pg_catalog.pg_advisory_xact_lock(7233748251341);";

/// The number of attempts to take the locks, and the pause between them, in which writers continue.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(400);

/// The effect of an installation on one table or function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The triggers of the table were installed.
    Installed(String),
    /// The triggers existed and were current.
    Unchanged(String),
    /// The triggers were removed, because their stream or table is no longer configured.
    Removed(String),
}

impl Database {
    /// Installs the triggers that the catalog needs, and removes those of streams and tables that
    /// it no longer contains. All of this is one transaction on the listener's address, with short
    /// lock time-outs. Current triggers are not touched.
    pub async fn install(&self, catalog: &Catalog) -> Result<Vec<Change>, InstallError> {
        let wanted = resolve::all(self, catalog).await?;
        let found = Installed::read(self).await?;
        let mut changes = Vec::new();
        let mut todo: Vec<Section> = found
            .leftovers(&wanted)
            .iter()
            .map(|left| left.removal())
            .collect();
        changes.extend(
            todo.iter()
                .map(|section| Change::Removed(section.subject.clone())),
        );
        let gated = resolve::gate(self).await?;
        let mut all = sections(&wanted, gated).into_iter();
        let shared = all.next().filter(|_| !found.shared_is(gated));
        let tables: Vec<_> = wanted
            .iter()
            .zip(all)
            .map(|(table, section)| (found.state(table), section))
            .collect();
        todo.extend(shared);
        for (state, section) in tables {
            if state == TriggerState::Current {
                changes.push(Change::Unchanged(section.subject));
            } else {
                changes.push(Change::Installed(section.subject.clone()));
                todo.push(section);
            }
        }
        self.run(&todo).await?;
        Ok(changes)
    }

    /// Returns the script that [`Database::install`] would run on an empty database, for reading or
    /// for psql.
    pub async fn install_sql(&self, catalog: &Catalog) -> Result<String, InstallError> {
        let wanted = resolve::all(self, catalog).await?;
        Ok(script(
            SETTINGS,
            &sections(&wanted, resolve::gate(self).await?),
        ))
    }

    /// Runs an app's script in the first schema of the search path, unless the same version has run
    /// there. `marked` is one of its tables; the comment on it identifies the version.
    pub async fn install_app(
        &self,
        name: &str,
        marked: &str,
        sql: &str,
    ) -> Result<Change, InstallError> {
        let subject = format!("tables of {name}");
        let section = self.app_section(name, marked, sql);
        let private = self.private_direct().await?;
        let asked = format!(
            "{} SELECT pg_catalog.obj_description(pg_catalog.to_regclass({}), 'pg_class')",
            self.direct().local_settings(),
            literal(marked)
        );
        let result = private
            .client
            .simple_query(&asked)
            .await
            .map_err(|error| InstallError::of(subject.clone(), &error))?;
        let mark = app_mark(sql);
        let is_there = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(mark.as_str()));
        if result.iter().any(is_there) {
            return Ok(Change::Unchanged(subject));
        }
        self.run(&[section]).await?;
        Ok(Change::Installed(subject))
    }

    /// Returns the script that [`Database::install_app`] would run.
    pub fn install_app_sql(&self, name: &str, marked: &str, sql: &str) -> String {
        script(SETTINGS, &[self.app_section(name, marked, sql)])
    }

    fn app_section(&self, name: &str, marked: &str, sql: &str) -> Section {
        let (settings, mark) = (self.direct().local_settings(), literal(&app_mark(sql)));
        let sql = format!(
            "SET LOCAL search_path TO DEFAULT;\n{settings}\n{sql}\nCOMMENT ON TABLE {marked} IS {mark};"
        );
        Section {
            subject: format!("tables of {name}"),
            sql,
        }
    }

    /// Removes everything that was ever installed, for any catalog, and the schema if nothing else
    /// is in it.
    pub async fn uninstall(&self) -> Result<Vec<Change>, InstallError> {
        let (todo, changes) = removals(&Installed::read(self).await?);
        self.run(&todo).await?;
        Ok(changes)
    }

    /// Returns the script that [`Database::uninstall`] would run now.
    pub async fn uninstall_sql(&self) -> Result<String, InstallError> {
        let (todo, _) = removals(&Installed::read(self).await?);
        Ok(script(SETTINGS, &todo))
    }

    async fn run(&self, todo: &[Section]) -> Result<(), InstallError> {
        if todo.is_empty() {
            return Ok(());
        }
        let private = self.private_direct().await?;
        for attempt in 1.. {
            match transaction(&private.client, todo).await {
                Ok(()) => break,
                Err(InstallError::Locked { .. }) if attempt < ATTEMPTS => {
                    sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns the mark that identifies the version of an app's script.
fn app_mark(sql: &str) -> String {
    let hash = Sha256::digest(sql.as_bytes());
    format!(
        "latido {}",
        hash.iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    )
}

/// Returns the sections that remove everything found, and the changes to report.
fn removals(found: &Installed) -> (Vec<Section>, Vec<Change>) {
    let mut todo: Vec<Section> = found
        .functions
        .iter()
        .map(|function| function.removal())
        .collect();
    let changes = todo
        .iter()
        .map(|section| Change::Removed(section.subject.clone()))
        .collect();
    if found.schema_is_ours {
        todo.push(Section {
            subject: format!("schema {SCHEMA}"),
            sql: include_str!("drop_schema.sql").to_owned(),
        });
    }
    (todo, changes)
}

async fn transaction(client: &Client, todo: &[Section]) -> Result<(), InstallError> {
    let begin = Section {
        subject: "the transaction".to_owned(),
        sql: format!("BEGIN READ WRITE;\n{SETTINGS}\n{ALONE}"),
    };
    let commit = Section {
        subject: "the transaction".to_owned(),
        sql: "COMMIT".to_owned(),
    };
    for section in std::iter::once(&begin).chain(todo).chain([&commit]) {
        if let Err(error) = client.batch_execute(&section.sql).await {
            // The connection itself may have failed; then there is nothing to roll back.
            let _ = client.batch_execute("ROLLBACK").await;
            let locked = error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
            let subject = section.subject.clone();
            return Err(if locked {
                InstallError::Locked { subject }
            } else {
                InstallError::of(subject, &error)
            });
        }
    }
    Ok(())
}
