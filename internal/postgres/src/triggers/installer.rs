//! The installing transaction: what it sets, which lock it takes, and how often it tries.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::pool::Database;
use crate::triggers::app_schema::AppSchema;
use crate::triggers::discover;
use crate::triggers::error::InstallError;
use crate::triggers::generate::{
    SCHEMA, SETTINGS_SQL, ScriptSection, WatchedTable, build_script, script_sections,
};
use crate::triggers::inspect::{InstalledTriggers, TriggerState};
use crate::triggers::install_change::InstallChange;
use latido_base::backoff::Jitter;
use latido_stream::Catalog;

/// The lock that prevents two installations at the same time.
const INSTALL_LOCK_SQL: &str = "SELECT pg_catalog.pg_advisory_xact_lock(7233748251341);";

/// The number of attempts to take the locks, and the pause between them, in which writers continue.
const MAX_ATTEMPTS: u32 = 6;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(400);

impl Database {
    /// Installs the triggers that the catalog needs, and removes those of streams and tables that
    /// it no longer contains. All of this is one transaction on the listener's address, with short
    /// lock time-outs. Current triggers are not touched.
    pub async fn install(&self, catalog: &Catalog) -> Result<Vec<InstallChange>, InstallError> {
        let (wanted, problems) = discover::discover_tables(self, catalog).await?;
        let found = InstalledTriggers::read(self).await?;
        if !problems.is_empty() {
            self.remove_stale_of(&found, &wanted).await?;
            return Err(InstallError::UnsupportedTables(problems));
        }
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

    /// Removes the triggers that fit no table of the catalog, and those that could fail a write. It
    /// is for an installation that refuses: they do not stay, whatever the reason.
    pub async fn remove_stale_triggers(&self, catalog: &Catalog) -> Result<(), InstallError> {
        let (wanted, _) = discover::discover_tables(self, catalog).await?;
        let found = InstalledTriggers::read(self).await?;
        self.remove_stale_of(&found, &wanted).await
    }

    async fn remove_stale_of(
        &self,
        found: &InstalledTriggers,
        wanted: &[WatchedTable],
    ) -> Result<(), InstallError> {
        let stale: Vec<_> = found
            .stale_functions(wanted)
            .iter()
            .map(|function| function.removal_section())
            .collect();
        self.run_sections(&stale).await?;
        for section in &stale {
            tracing::warn!(
                table = section.subject,
                "removed triggers that do not fit their table any more"
            );
        }
        Ok(())
    }

    /// Returns the script that [`Database::install`] would run on an empty database, for reading or
    /// for psql.
    pub async fn install_sql(&self, catalog: &Catalog) -> Result<String, InstallError> {
        let (wanted, problems) = discover::discover_tables(self, catalog).await?;
        if !problems.is_empty() {
            return Err(InstallError::UnsupportedTables(problems));
        }
        Ok(build_script(
            SETTINGS_SQL,
            &script_sections(&wanted, discover::uses_gate(self).await?),
        ))
    }

    /// Removes everything that was ever installed, for any catalog and for these apps, and the
    /// schema if nothing else is in it. The data of apps stays.
    pub async fn uninstall(&self, apps: &[&AppSchema]) -> Result<Vec<InstallChange>, InstallError> {
        let (todo, mut changes) = self.plan_uninstall(apps).await?;
        for schema in apps {
            changes.extend(self.app_change(schema).await?);
        }
        self.run_sections(&todo).await?;
        Ok(changes)
    }

    /// Returns the script that [`Database::uninstall`] would run now.
    pub async fn uninstall_sql(&self, apps: &[&AppSchema]) -> Result<String, InstallError> {
        let (todo, _) = self.plan_uninstall(apps).await?;
        Ok(build_script(SETTINGS_SQL, &todo))
    }

    async fn plan_uninstall(
        &self,
        apps: &[&AppSchema],
    ) -> Result<(Vec<ScriptSection>, Vec<InstallChange>), InstallError> {
        let (mut todo, changes) = plan_removal(&InstalledTriggers::read(self).await?);
        // The last, because their search path is another.
        todo.extend(apps.iter().map(|schema| self.app_removal(schema)));
        Ok((todo, changes))
    }

    pub(super) async fn run_sections(&self, todo: &[ScriptSection]) -> Result<(), InstallError> {
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
