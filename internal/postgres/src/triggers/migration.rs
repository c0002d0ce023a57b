//! An installation as a migration: the SQL that makes it, and the SQL that leads back to what is
//! installed now.

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::quote::{quote_ident, quote_literal, quote_qualified};
use crate::triggers::app_schema::AppSchema;
use crate::triggers::error::InstallError;
use crate::triggers::generate::SHARED_FUNCTION;
use crate::triggers::inspect::InstalledTriggers;
use crate::triggers::installer::{guard_sections, schema_removal};
use crate::triggers::script::ScriptSection;
use crate::triggers::stream_gate::GATE_FUNCTION;
use crate::triggers::table_triggers::trigger_sets;
use crate::triggers::transaction::migration_script;
use crate::triggers::watched_table::WatchedTable;
use latido_stream::Catalog;

/// The SQL of a migration, to run in a transaction of the tool that applies it. Settings of that
/// transaction are the same afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The SQL that installs.
    pub up: String,
    /// The SQL that restores what was installed before, or nothing.
    pub down: String,
}

impl Database {
    /// Returns the migration from what is installed now to what the catalog and the apps need, or
    /// `None` if that is installed already. The way back keeps the data of apps, and does not
    /// restore an older version of an app's functions.
    ///
    /// # Errors
    /// The same errors as [`Database::install`].
    pub async fn migration(
        &self,
        catalog: &Catalog,
        apps: &[&AppSchema],
    ) -> Result<Option<Migration>, InstallError> {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for app in apps {
            let (install, remove) = self.plan_app_migration(app).await?;
            up.extend(install);
            down.extend(remove);
        }
        let wanted = self.wanted_tables(catalog).await?;
        let found = InstalledTriggers::read(self).await?;
        let (todo, _) = self.plan_changes(catalog, &wanted, &found).await?;
        if !todo.is_empty() {
            // Before the functions of apps go.
            let restore = self.plan_restoration(&wanted, &found).await?;
            down.splice(0..0, restore);
            up.extend(guard_sections(self.instance(), &wanted, todo));
        }
        Ok((!up.is_empty()).then(|| Migration {
            up: migration_script(&up),
            down: migration_script(&down),
        }))
    }

    /// Returns the sections that lead from the installation of these tables back to what is found
    /// now.
    async fn plan_restoration(
        &self,
        wanted: &[WatchedTable],
        found: &InstalledTriggers,
    ) -> Result<Vec<ScriptSection>, InstallError> {
        let is_changed = |table: &&WatchedTable| !found.is_as_installed(table);
        let changed: Vec<_> = wanted.iter().filter(is_changed).collect();
        let schema = self.instance().as_str();
        let mut sections: Vec<_> = changed
            .iter()
            .map(|table| ScriptSection {
                subject: table.qualified_name(),
                sql: trigger_sets(table)
                    .iter()
                    .map(|set| set.removal_sql(self.instance()))
                    .collect(),
            })
            .collect();
        let kept: Vec<_> = wanted
            .iter()
            .filter(|table| !is_changed(table))
            .flat_map(trigger_sets)
            .flat_map(|set| set.function_names().cloned().collect::<Vec<_>>())
            .collect();
        let mut lost: Vec<&str> = found.functions.iter().map(|f| f.name.as_str()).collect();
        lost.retain(|name| !kept.iter().any(|kept| kept == name));
        sections.extend(self.definitions(&lost).await?);
        let is_new = |name: &&str| !found.functions.iter().any(|f| f.name == **name);
        let new = [SHARED_FUNCTION, GATE_FUNCTION].into_iter().filter(is_new);
        let drop_shared: String = new
            .map(|name| {
                format!(
                    "DROP FUNCTION IF EXISTS {};\n",
                    quote_qualified(schema, name)
                )
            })
            .collect();
        sections.push(ScriptSection {
            subject: format!("schema {schema}"),
            sql: drop_shared,
        });
        if !found.owns_schema {
            sections.push(schema_removal(self.instance()));
        } else if let Some(comment) = self.schema_comment_now().await? {
            sections.push(ScriptSection {
                subject: format!("schema {schema}"),
                sql: format!(
                    "COMMENT ON SCHEMA {} IS {};\n",
                    quote_ident(schema),
                    quote_literal(&comment)
                ),
            });
        }
        Ok(sections)
    }

    /// Returns the sections that make these installed functions and their triggers again.
    async fn definitions(&self, names: &[&str]) -> Result<Vec<ScriptSection>, DatabaseError> {
        let what = "the definitions of the triggers";
        let driver = |error| DatabaseError::from_driver(what, &error);
        let private = self.open_dedicated_direct().await?;
        let path = "SET search_path = pg_catalog";
        private.client.batch_execute(path).await.map_err(driver)?;
        let schema = self.instance().as_str();
        let types = [Type::NAME, Type::NAME_ARRAY];
        let sql = include_str!("find_definitions.sql");
        let statement = private.client.prepare_typed(sql, &types).await;
        let statement = statement.map_err(driver)?;
        let rows = private.client.query(&statement, &[&schema, &names]).await;
        let mut sections = Vec::new();
        for row in rows.map_err(driver)? {
            let (signature, definition): (String, String) = (
                row.try_get(0).map_err(driver)?,
                row.try_get(1).map_err(driver)?,
            );
            let comment: Option<String> = row.try_get(2).map_err(driver)?;
            let is_public: bool = row.try_get(3).map_err(driver)?;
            let triggers: Vec<String> = row.try_get(4).map_err(driver)?;
            let rights = match is_public {
                true => format!("GRANT EXECUTE ON FUNCTION {signature} TO PUBLIC"),
                false => format!("REVOKE ALL ON FUNCTION {signature} FROM PUBLIC"),
            };
            let comment = comment.map_or("NULL".to_owned(), |text| quote_literal(&text));
            let sql = format!(
                "{};\n{rights};\nCOMMENT ON FUNCTION {signature} IS {comment};\n{}",
                definition.trim_end(),
                triggers.concat()
            );
            sections.push(ScriptSection {
                subject: format!("function {signature}"),
                sql,
            });
        }
        Ok(sections)
    }
}
