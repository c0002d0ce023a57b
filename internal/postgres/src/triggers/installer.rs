//! Plans an installation or a removal, and runs it as one transaction with several attempts.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::grants::{Grant, grant_script};
use crate::instance::InstanceName;
use crate::pool::Database;
use crate::quote::quote_qualified;
use crate::triggers::app_schema::AppSchema;
use crate::triggers::discover;
use crate::triggers::error::{InstallError, TableProblem};
use crate::triggers::generate::script_sections;
use crate::triggers::inspect::{InstalledTriggers, TriggerState};
use crate::triggers::install_change::InstallChange;
use crate::triggers::ownership::ObjectNames;
use crate::triggers::script::{ScriptSection, fill_template};
use crate::triggers::table_triggers::trigger_sets;
use crate::triggers::transaction::{run_transaction, transaction_script};
use crate::triggers::watched_table::WatchedTable;
use latido_base::backoff::Jitter;
use latido_stream::Catalog;

/// The number of attempts to take the locks, and the pause between them, in which writers continue.
const MAX_ATTEMPTS: u32 = 6;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(400);

/// Whether row-level security concerns the role of the session.
const POLICIES_SQL: &str = "SELECT pg_catalog.row_security_active(pg_catalog.to_regclass($1))";

/// The sections to run, and the changes to report afterwards.
type Plan = (Vec<ScriptSection>, Vec<InstallChange>);

impl Database {
    /// Installs the triggers that the catalog needs, and removes those of streams and tables that
    /// it no longer contains. All of this is one transaction on the listener's address, with short
    /// lock time-outs. Current triggers are not touched.
    pub async fn install(&self, catalog: &Catalog) -> Result<Vec<InstallChange>, InstallError> {
        match self.plan_install(catalog).await {
            Ok((todo, changes)) => {
                self.run_sections(&todo).await?;
                Ok(changes)
            }
            Err(error) => {
                if let InstallError::UnsupportedTables(_) = error {
                    self.remove_failing_triggers().await?;
                }
                Err(error)
            }
        }
    }

    /// Adds to a mistake those that [`Database::install`] would find among the tables, so that all are
    /// told together. `is_planned` is true for a problem that an installation solves before that.
    pub async fn add_table_problems(
        &self,
        catalog: &Catalog,
        error: InstallError,
        is_planned: impl Fn(&TableProblem) -> bool,
    ) -> InstallError {
        let problems = match discover::discover_with_lookups(self, catalog).await {
            Ok((_, problems)) => problems,
            // The first error is one that can be mended.
            Err(_) => return error,
        };
        let problems: Vec<_> = problems.into_iter().filter(|p| !is_planned(p)).collect();
        match problems.is_empty() {
            true => error,
            false => InstallError::all(vec![error, InstallError::UnsupportedTables(problems)]),
        }
    }

    /// Returns the script that [`Database::install`] would run now, for reading or for psql.
    pub async fn install_sql(&self, catalog: &Catalog) -> Result<String, InstallError> {
        let (todo, _) = self.plan_install(catalog).await?;
        Ok(transaction_script(&todo))
    }

    async fn plan_install(&self, catalog: &Catalog) -> Result<Plan, InstallError> {
        let wanted = self.wanted_tables(catalog).await?;
        let found = InstalledTriggers::read(self).await?;
        let (todo, changes) = self.plan_changes(catalog, &wanted, &found).await?;
        Ok((guard_sections(self.instance(), &wanted, todo), changes))
    }

    /// Returns the tables of the catalog.
    ///
    /// # Errors
    /// Returns an error if one of them cannot have the triggers that its stream needs.
    pub(super) async fn wanted_tables(
        &self,
        catalog: &Catalog,
    ) -> Result<Vec<WatchedTable>, InstallError> {
        let (wanted, problems) = discover::discover_with_lookups(self, catalog).await?;
        match problems.is_empty() {
            true => Ok(wanted),
            false => Err(InstallError::UnsupportedTables(problems)),
        }
    }

    /// Returns what leads from the triggers that were found to those of these tables.
    pub(super) async fn plan_changes(
        &self,
        catalog: &Catalog,
        wanted: &[WatchedTable],
        found: &InstalledTriggers,
    ) -> Result<Plan, InstallError> {
        let mut todo: Vec<ScriptSection> = found
            .unused_functions(wanted)
            .iter()
            .map(|left| left.removal_section())
            .collect();
        let mut changes: Vec<_> = todo
            .iter()
            .map(|section| InstallChange::Removed(section.subject.clone()))
            .collect();
        changes.extend(wanted.iter().filter_map(function_warning));
        changes.extend(wanted.iter().filter_map(left_out_warning));
        changes.extend(self.policy_warnings(wanted).await?);
        let gated = discover::uses_gate(self).await?;
        let mut all = script_sections(self.instance(), wanted, gated).into_iter();
        let is_shared = found.shared_function_matches(gated)
            && wanted.iter().all(|table| found.has_gate_of(table));
        let shared = all.next().filter(|_| !is_shared);
        let recorded = self.reads_section(catalog, shared.is_some()).await?;
        todo.extend(shared);
        for (table, section) in wanted.iter().zip(all) {
            let subject = format!("{} for stream {}", section.subject, table.stream);
            changes.push(match found.is_as_installed(table) {
                true => InstallChange::Unchanged(subject),
                false => InstallChange::Installed(subject),
            });
            todo.extend(found.stray_removals(table));
            if found.table_state(table) != TriggerState::Current {
                todo.extend(found.lookup_removals(table));
                todo.push(section);
            }
        }
        todo.extend(recorded);
        Ok((todo, changes))
    }

    /// Returns a warning for each table that a lookup reads and whose policies concern this role, with
    /// whose rights the lookup runs.
    async fn policy_warnings(
        &self,
        tables: &[WatchedTable],
    ) -> Result<Vec<InstallChange>, DatabaseError> {
        let mut warnings = Vec::new();
        for table in tables {
            let path = table.lookup_facts().map_or(&[][..], |facts| &facts.path);
            for on in path {
                let name = quote_qualified(&on.schema, &on.table);
                let rows = self
                    .query(
                        "a look at the policies",
                        POLICIES_SQL,
                        &[(&name, Type::TEXT)],
                    )
                    .await?;
                let is_active = rows.first().and_then(|row| row.try_get(0).ok());
                if is_active.unwrap_or(false) {
                    warnings.push(InstallChange::Warning(format!(
                        "stream {}: `via` of table {} reads {name}, whose row-level security concerns this role: every change \
                         counts as a change of every key. Install as a role with BYPASSRLS, or as the owner without FORCE ROW LEVEL SECURITY",
                        table.stream, table.table
                    )));
                }
            }
        }
        Ok(warnings)
    }

    /// Removes the triggers that could fail a write. It is for an installation that refuses: they do
    /// not stay, whatever the reason. All others do, so that a mistake in the configuration costs
    /// nothing.
    pub async fn remove_failing_triggers(&self) -> Result<(), InstallError> {
        let found = InstalledTriggers::read(self).await?;
        let failing: Vec<_> = found
            .failing_functions()
            .iter()
            .map(|function| function.removal_section())
            .collect();
        self.run_sections(&failing).await?;
        for section in &failing {
            tracing::warn!(
                table = section.subject,
                "removed triggers of an older version, which could fail writes"
            );
        }
        Ok(())
    }

    /// Removes everything that was ever installed, for any catalog and for these apps, and the
    /// schema if nothing else is in it. The data of apps stays.
    pub async fn uninstall(&self, apps: &[&AppSchema]) -> Result<Vec<InstallChange>, InstallError> {
        let (todo, changes) = self.plan_uninstall(apps).await?;
        self.run_sections(&todo).await?;
        Ok(changes)
    }

    /// Returns the script that [`Database::uninstall`] would run now.
    pub async fn uninstall_sql(&self, apps: &[&AppSchema]) -> Result<String, InstallError> {
        let (todo, _) = self.plan_uninstall(apps).await?;
        Ok(transaction_script(&todo))
    }

    /// Gives a role these privileges, in one transaction.
    ///
    /// # Errors
    /// Returns an error if there is no such role, or this role may not grant them.
    pub async fn grant_all(&self, role: &str, grants: &[Grant]) -> Result<(), InstallError> {
        let section = ScriptSection {
            subject: format!("the privileges of {role}"),
            sql: grant_script(role, grants),
        };
        self.run_sections(&[section]).await
    }

    async fn plan_uninstall(&self, apps: &[&AppSchema]) -> Result<Plan, InstallError> {
        let found = InstalledTriggers::read(self).await?;
        let (mut todo, mut changes) = plan_removal(self.instance(), &found);
        // The last, because their search path is another.
        for schema in apps {
            let (section, change) = self.plan_app_removal(schema).await?;
            todo.extend(section);
            changes.extend(change);
        }
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

/// Returns a warning that names the functions which a table's lookup calls, if there are any.
fn function_warning(table: &WatchedTable) -> Option<InstallChange> {
    let functions = &table.lookup_facts()?.functions;
    let text = format!(
        "stream {}: `via` of table {} calls {}; whoever owns that runs with the rights of the installing role at every write",
        table.stream,
        table.table,
        functions.join(", ")
    );
    (!functions.is_empty()).then_some(InstallChange::Warning(text))
}

/// Returns a warning about tables that get no triggers because a foreign table is below them.
fn left_out_warning(table: &WatchedTable) -> Option<InstallChange> {
    let text = |note| format!("stream {}, table {}: {note}", table.stream, table.table);
    table.left_out_note().map(text).map(InstallChange::Warning)
}

/// Adds the check that nothing of these names belongs to somebody else: before the other sections,
/// and after them, because somebody may have been faster than the first check.
pub(super) fn guard_sections(
    instance: &InstanceName,
    tables: &[WatchedTable],
    mut todo: Vec<ScriptSection>,
) -> Vec<ScriptSection> {
    let triggers = tables
        .iter()
        .flat_map(trigger_sets)
        .flat_map(|set| set.triggers)
        .map(|trigger| trigger.name);
    let names = ObjectNames {
        schemas: vec![instance.to_string()],
        triggers: triggers.collect(),
        ..ObjectNames::default()
    };
    let guard = names.guard_section(format!("schema {instance}"), "NULL");
    if !todo.is_empty() {
        todo.push(guard.clone());
    }
    todo.insert(0, guard);
    todo
}

/// Returns the sections that remove everything found, and the changes to report.
fn plan_removal(instance: &InstanceName, found: &InstalledTriggers) -> Plan {
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
        todo.push(schema_removal(instance));
    }
    (todo, changes)
}

/// Returns the section that removes the schema if nothing is in it.
pub(super) fn schema_removal(instance: &InstanceName) -> ScriptSection {
    ScriptSection {
        subject: format!("schema {instance}"),
        sql: fill_template(
            include_str!("drop_schema.sql"),
            &[("schema", &instance.sql())],
        ),
    }
}
