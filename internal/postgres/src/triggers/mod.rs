//! Installs the triggers that a catalog needs, inspects them, and removes them completely.

pub(super) mod discover;
mod error;
pub(super) mod generate;
mod inspect;
mod trigger_event;

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

pub(crate) use error::DiscoveryError;
pub use error::{InstallError, TableProblem};
pub use inspect::{TableTriggers, TriggerReport, TriggerState};

use crate::pool::Database;
use crate::quote::quote_literal;
use crate::triggers::generate::{SCHEMA, ScriptSection, build_script, script_sections};
use crate::triggers::inspect::InstalledTriggers;
use latido_base::backoff::Jitter;
use latido_stream::Catalog;

/// The settings of the installing transaction. The lock time-out is shorter than the server's
/// `deadlock_timeout` of 1 s: in a conflict with a writer's locks, the installation gives up before
/// the server picks a victim. `search_path` prevents accidental name resolution.
const SETTINGS_SQL: &str = "SET LOCAL lock_timeout = '800ms';\nSET LOCAL statement_timeout = '60s';\n\
                        SET LOCAL client_min_messages = warning;\nSET LOCAL search_path = pg_catalog;";

/// The lock that prevents two installations at the same time.
const INSTALL_LOCK_SQL: &str = "SELECT pg_catalog.pg_advisory_xact_lock(7233748251341);";

/// The number of attempts to take the locks, and the pause between them, in which writers continue.
const MAX_ATTEMPTS: u32 = 6;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(400);

/// The effect of an installation on one table or function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallChange {
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
    pub async fn install(&self, catalog: &Catalog) -> Result<Vec<InstallChange>, InstallError> {
        let wanted = discover::discover_tables(self, catalog).await?;
        let found = InstalledTriggers::read(self).await?;
        let mut changes = Vec::new();
        let mut todo: Vec<ScriptSection> = found
            .unused_functions(&wanted)
            .iter()
            .map(|left| left.removal_section())
            .collect();
        changes.extend(
            todo.iter()
                .map(|section| InstallChange::Removed(section.subject.clone())),
        );
        let gated = discover::uses_gate(self).await?;
        let mut all = script_sections(&wanted, gated).into_iter();
        let shared = all.next().filter(|_| !found.shared_function_matches(gated));
        let tables: Vec<_> = wanted
            .iter()
            .zip(all)
            .map(|(table, section)| (found.table_state(table), section))
            .collect();
        todo.extend(shared);
        for (state, section) in tables {
            if state == TriggerState::Current {
                changes.push(InstallChange::Unchanged(section.subject));
            } else {
                changes.push(InstallChange::Installed(section.subject.clone()));
                todo.push(section);
            }
        }
        self.run_sections(&todo).await?;
        Ok(changes)
    }

    /// Returns the script that [`Database::install`] would run on an empty database, for reading or
    /// for psql.
    pub async fn install_sql(&self, catalog: &Catalog) -> Result<String, InstallError> {
        let wanted = discover::discover_tables(self, catalog).await?;
        Ok(build_script(
            SETTINGS_SQL,
            &script_sections(&wanted, discover::uses_gate(self).await?),
        ))
    }

    /// Runs an app's script in the first schema of the search path, unless the same version has run
    /// there. `marked` is one of its tables; the comment on it identifies the version.
    pub async fn install_app(
        &self,
        name: &str,
        marked: &str,
        sql: &str,
    ) -> Result<InstallChange, InstallError> {
        let subject = format!("tables of {name}");
        let section = self.app_section(name, marked, sql);
        let private = self.open_dedicated_direct().await?;
        let asked = format!(
            "{} SELECT pg_catalog.obj_description(pg_catalog.to_regclass({}), 'pg_class')",
            self.direct_endpoint().local_settings(),
            quote_literal(marked)
        );
        let result = private
            .client
            .simple_query(&asked)
            .await
            .map_err(|error| InstallError::from_driver(subject.clone(), &error))?;
        let mark = script_mark(sql);
        let is_there = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(mark.as_str()));
        if result.iter().any(is_there) {
            return Ok(InstallChange::Unchanged(subject));
        }
        self.run_sections(&[section]).await?;
        Ok(InstallChange::Installed(subject))
    }

    /// Returns the script that [`Database::install_app`] would run.
    pub fn install_app_sql(&self, name: &str, marked: &str, sql: &str) -> String {
        build_script(SETTINGS_SQL, &[self.app_section(name, marked, sql)])
    }

    fn app_section(&self, name: &str, marked: &str, sql: &str) -> ScriptSection {
        let (settings, mark) = (
            self.direct_endpoint().local_settings(),
            quote_literal(&script_mark(sql)),
        );
        let sql = format!(
            "SET LOCAL search_path TO DEFAULT;\n{settings}\n{sql}\nCOMMENT ON TABLE {marked} IS {mark};"
        );
        ScriptSection {
            subject: format!("tables of {name}"),
            sql,
        }
    }

    /// Removes everything that was ever installed, for any catalog, and the schema if nothing else
    /// is in it.
    pub async fn uninstall(&self) -> Result<Vec<InstallChange>, InstallError> {
        let (todo, changes) = plan_removal(&InstalledTriggers::read(self).await?);
        self.run_sections(&todo).await?;
        Ok(changes)
    }

    /// Returns the script that [`Database::uninstall`] would run now.
    pub async fn uninstall_sql(&self) -> Result<String, InstallError> {
        let (todo, _) = plan_removal(&InstalledTriggers::read(self).await?);
        Ok(build_script(SETTINGS_SQL, &todo))
    }

    async fn run_sections(&self, todo: &[ScriptSection]) -> Result<(), InstallError> {
        if todo.is_empty() {
            return Ok(());
        }
        let private = self.open_dedicated_direct().await?;
        for attempt in 1.. {
            match run_transaction(&private.client, todo).await {
                Ok(()) => break,
                Err(InstallError::Locked { .. }) if attempt < MAX_ATTEMPTS => {
                    sleep(Jitter::AROUND.apply(ATTEMPT_PAUSE, fastrand::f64())).await
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns the mark that identifies the version of an app's script.
fn script_mark(sql: &str) -> String {
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
fn plan_removal(found: &InstalledTriggers) -> (Vec<ScriptSection>, Vec<InstallChange>) {
    let mut todo: Vec<ScriptSection> = found
        .functions
        .iter()
        .map(|function| function.removal_section())
        .collect();
    let changes = todo
        .iter()
        .map(|section| InstallChange::Removed(section.subject.clone()))
        .collect();
    if found.owns_schema {
        todo.push(ScriptSection {
            subject: format!("schema {SCHEMA}"),
            sql: include_str!("drop_schema.sql").to_owned(),
        });
    }
    (todo, changes)
}

async fn run_transaction(client: &Client, todo: &[ScriptSection]) -> Result<(), InstallError> {
    let begin = ScriptSection {
        subject: "the transaction".to_owned(),
        sql: format!("BEGIN READ WRITE;\n{SETTINGS_SQL}\n{INSTALL_LOCK_SQL}"),
    };
    let commit = ScriptSection {
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
                InstallError::from_driver(subject, &error)
            });
        }
    }
    Ok(())
}
