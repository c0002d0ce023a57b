//! The database objects of an app: installed before the streams' triggers, and removed with them.

use std::fmt;

use sha2::{Digest as _, Sha256};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use super::error::InstallError;
use super::install_change::InstallChange;
use super::ownership::ObjectNames;
use super::script::ScriptSection;
use super::transaction::transaction_script;
use crate::grants::TableGrant;
use crate::instance::InstanceName;
use crate::pool::Database;
use crate::quote::quote_literal;

/// The tables of this name in any schema, and their comments.
const INSTALLED_APPS_SQL: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.obj_description(c.oid, 'pg_class')
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
     WHERE c.relname::pg_catalog.text OPERATOR(pg_catalog.=) $1 AND c.relkind OPERATOR(pg_catalog.=) 'r'";

/// The comment that marks the installed version of an app: `latido VERSION`, and the names of the
/// installations that use it, separated by commas, unless only the default one does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AppMark {
    version: String,
    instances: Vec<InstanceName>,
}

impl AppMark {
    fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.strip_prefix("latido ")?.split(' ');
        let version = words.next()?.to_owned();
        let instances = match words.next() {
            None => vec![InstanceName::default()],
            Some(names) => names
                .split(',')
                .map(InstanceName::parse)
                .collect::<Option<_>>()?,
        };
        words
            .next()
            .is_none()
            .then_some(Self { version, instances })
    }

    /// Returns the SQL that writes this comment on a table. The search path finds the table.
    fn comment_sql(&self, table: &str) -> String {
        format!(
            "COMMENT ON TABLE {table} IS {};",
            quote_literal(&self.to_string())
        )
    }
}

impl fmt::Display for AppMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "latido {}", self.version)?;
        if self.instances != [InstanceName::default()] {
            let names: Vec<_> = self.instances.iter().map(InstanceName::as_str).collect();
            write!(f, " {}", names.join(","))?;
        }
        Ok(())
    }
}

/// The SQL of an app's tables, functions and triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppSchema {
    /// The app's name.
    pub app: &'static str,
    /// One of the tables that the SQL creates. The comment on it identifies the installed version.
    pub version_table: &'static str,
    /// The SQL that creates the objects in the first schema of the search path. It can be run
    /// repeatedly.
    pub install_sql: &'static str,
    /// The SQL that removes everything that [`install_sql`](Self::install_sql) made, in whatever
    /// schema that was, except the data in [`kept`](Self::kept). It does nothing if nothing is
    /// installed.
    pub uninstall_sql: &'static str,
    /// The tables and sequences that stay, because their data belongs to the application.
    pub kept: &'static [&'static str],
    /// The privileges on tables that the serving role needs for the app.
    pub grants: &'static [TableGrant],
    /// The functions of the SQL that the app calls.
    pub called_functions: &'static [&'static str],
}

impl AppSchema {
    /// Returns the version of the SQL.
    fn version(&self) -> String {
        let hash = Sha256::digest(self.install_sql.as_bytes());
        hash.iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Returns whether the SQL creates a table of this name in the first schema of the search path.
    #[must_use]
    pub fn creates_table(&self, table: &str) -> bool {
        let names = ObjectNames::of_script(self.install_sql);
        names.relations.iter().any(|name| name == table)
    }

    fn installed_subject(&self) -> String {
        format!("tables of {}", self.app)
    }

    fn removed_subject(&self) -> String {
        let kept = match self.kept {
            [] => String::new(),
            kept => format!("; data stays: {}", kept.join(", ")),
        };
        format!("triggers and functions of {}{kept}", self.app)
    }
}

impl Database {
    /// Runs an app's SQL in the first schema of the search path, unless the same version has run
    /// there.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable, a lock cannot be acquired, or the role may
    /// not create the objects.
    pub async fn install_app(&self, schema: &AppSchema) -> Result<InstallChange, InstallError> {
        let (todo, change) = self.plan_app(schema).await?;
        self.run_sections(&todo).await?;
        Ok(change)
    }

    /// Returns the script that [`Database::install_app`] would run now.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable.
    pub async fn install_app_sql(&self, schema: &AppSchema) -> Result<String, InstallError> {
        Ok(transaction_script(&self.plan_app(schema).await?.0))
    }

    async fn plan_app(
        &self,
        schema: &AppSchema,
    ) -> Result<(Vec<ScriptSection>, InstallChange), InstallError> {
        let subject = schema.installed_subject();
        let private = self.open_dedicated_direct().await?;
        let query = format!(
            "{} SELECT pg_catalog.obj_description(pg_catalog.to_regclass({}), 'pg_class')",
            self.direct_endpoint().local_settings(),
            quote_literal(schema.version_table)
        );
        let result = private.client.simple_query(&query).await;
        let rows = result.map_err(|error| InstallError::from_driver(subject.clone(), &error))?;
        let comments = rows.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let installed = comments.filter_map(AppMark::parse).next();
        let (version, own) = (schema.version(), self.instance());
        let is_current = installed
            .as_ref()
            .is_some_and(|mark| mark.version == version);
        let mut instances = installed.map_or_else(Vec::new, |mark| mark.instances);
        let is_user = instances.contains(own);
        if let Some(other) = instances.first()
            && !(is_current || is_user)
        {
            return Err(InstallError::OtherInstance {
                subject,
                instance: other.clone(),
            });
        }
        if !is_user {
            instances.push(own.clone());
        }
        let mark = AppMark { version, instances };
        let comment = mark.comment_sql(schema.version_table);
        let guard = self.app_guard(schema);
        if is_current {
            let comment =
                (!is_user).then(|| self.section_on_default_path(subject.clone(), &comment));
            let todo = std::iter::once(guard).chain(comment).collect();
            return Ok((todo, InstallChange::Unchanged(subject)));
        }
        let sql = format!("{}\n{comment}", schema.install_sql);
        let section = self.section_on_default_path(subject.clone(), &sql);
        // Before and after, because somebody may have been faster than the first check.
        let todo = vec![guard.clone(), section, guard];
        Ok((todo, InstallChange::Installed(subject)))
    }

    /// Returns the sections that install an app, and those that lead back: to nothing if it was not
    /// installed, and nowhere otherwise.
    pub(super) async fn plan_app_migration(
        &self,
        schema: &AppSchema,
    ) -> Result<(Vec<ScriptSection>, Option<ScriptSection>), InstallError> {
        let (todo, change) = self.plan_app(schema).await?;
        let (_, removed) = self.plan_app_removal(schema).await?;
        Ok(match change {
            InstallChange::Installed(_) if removed.is_none() => {
                let subject = schema.removed_subject();
                let removal = self.section_on_default_path(subject, schema.uninstall_sql);
                (todo, Some(removal))
            }
            // Somebody else's installation has it, or an older version is installed.
            InstallChange::Installed(_) => (todo, None),
            _ if todo.len() > 1 => (todo, None),
            _ => (Vec::new(), None),
        })
    }

    /// Returns the section that fails if objects of the app's names belong to somebody else.
    fn app_guard(&self, schema: &AppSchema) -> ScriptSection {
        let mut names = ObjectNames::of_script(schema.install_sql);
        let is_own = |name: &&String| !schema.kept.contains(&name.as_str());
        names.guarded = names.relations.iter().filter(is_own).cloned().collect();
        let home = "pg_catalog.current_setting('latido.home')";
        let guard = names.guard_section(schema.installed_subject(), home);
        // The check itself must not see the search path, which it needs to find the schema.
        let path = "SELECT pg_catalog.set_config('latido.home', pg_catalog.current_schema()::pg_catalog.text, true);\n\
                    SET LOCAL search_path = pg_catalog;";
        self.section_on_default_path(guard.subject, &format!("{path}\n{}", guard.sql))
    }

    /// Builds a section whose SQL sees the search path of the connection.
    fn section_on_default_path(&self, subject: String, sql: &str) -> ScriptSection {
        let settings = self.direct_endpoint().local_settings();
        ScriptSection {
            subject,
            sql: format!("SET LOCAL search_path TO DEFAULT;\n{settings}\n{sql}"),
        }
    }

    /// Returns the section that removes an app's objects, and the change to report if the app is
    /// installed in any schema. Objects that another installation uses stay; only the name of this
    /// one goes.
    pub(super) async fn plan_app_removal(
        &self,
        schema: &AppSchema,
    ) -> Result<(Option<ScriptSection>, Option<InstallChange>), InstallError> {
        let params = [(&schema.version_table as _, Type::TEXT)];
        let rows = self
            .query("the installed apps", INSTALLED_APPS_SQL, &params)
            .await?;
        let own = self.instance();
        let mut own_comments = Vec::new();
        let (mut other, mut is_installed) = (None, false);
        for row in &rows {
            let table: &str = row.try_get(0).unwrap_or_default();
            let comment: Option<&str> = row.try_get(1).unwrap_or_default();
            let Some(mut mark) = comment.and_then(AppMark::parse) else {
                continue;
            };
            let is_user = mark.instances.contains(own);
            mark.instances.retain(|instance| instance != own);
            is_installed |= is_user;
            if let Some(first) = mark.instances.first() {
                other = Some(first.clone());
                own_comments.extend(is_user.then(|| mark.comment_sql(table)));
            }
        }
        if let Some(other) = other {
            let subject = schema.installed_subject();
            let text = format!("{subject} stay: the installation {other} uses them");
            let section = (!own_comments.is_empty()).then(|| ScriptSection {
                subject,
                sql: own_comments.join("\n"),
            });
            return Ok((section, Some(InstallChange::Warning(text))));
        }
        let section = self.section_on_default_path(schema.removed_subject(), schema.uninstall_sql);
        let change = is_installed.then(|| InstallChange::Removed(schema.removed_subject()));
        Ok((Some(section), change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_of_the_default_installation_has_no_name() {
        let mark = |names: &[&str]| AppMark {
            version: "0123".to_owned(),
            instances: names
                .iter()
                .map(|name| InstanceName::parse(name).unwrap())
                .collect(),
        };
        for (mark, text) in [
            (mark(&["latido"]), "latido 0123"),
            (mark(&["staging"]), "latido 0123 staging"),
            (mark(&["staging", "latido"]), "latido 0123 staging,latido"),
        ] {
            assert_eq!(mark.to_string(), text);
            assert_eq!(AppMark::parse(text), Some(mark));
        }
        for text in ["", "latido", "a table of ours", "latido 1 2 3"] {
            assert_eq!(AppMark::parse(text), None, "{text}");
        }
    }
}
