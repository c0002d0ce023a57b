//! The databases that `latido demo` refuses, because it writes.

use latido_demo::{foreign_data_sql, is_demo_table};
use latido_postgres::{AppSchema, Database, DatabaseTable, ScriptRunner};

use crate::apps::AppList;

/// The SQLSTATE `undefined_table`: the demo's tables do not exist yet.
const UNDEFINED_TABLE: &str = "42P01";
/// The SQLSTATE `undefined_column`: a table of the same name is not the demo's.
const UNDEFINED_COLUMN: &str = "42703";
/// The schema of the tables of `sql/history`.
const HISTORY_SCHEMA: &str = "latido_history";
/// The number of tables that a refusal names.
const NAMED_TABLES: usize = 3;
/// The end of each refusal.
const REMEDY: &str = "a demo writes, so expected an empty database: unset DATABASE_URL for a private PostgreSQL, \
     or name an empty database; `latido serve` is what shows this one live";

/// Refuses a database with tables that neither the demo nor an app of Latido has made.
pub(super) async fn refuse_foreign_tables(
    database: &Database,
    apps: AppList,
) -> anyhow::Result<()> {
    let tables = database.user_tables().await?;
    let schemas: Vec<_> = apps.iter().filter_map(|app| app.schema()).collect();
    let foreign = foreign_tables(&tables, &schemas);
    let names: Vec<_> = foreign.iter().take(NAMED_TABLES).cloned().collect();
    let more = match foreign.len() > names.len() {
        true => ", …",
        false => "",
    };
    anyhow::ensure!(
        foreign.is_empty(),
        "DATABASE_URL names a database with tables of its own ({}{more}), and {REMEDY}",
        names.join(", ")
    );
    Ok(())
}

/// Returns the names of the tables that are neither the demo's nor those of an installed app.
fn foreign_tables(tables: &[DatabaseTable], apps: &[&AppSchema]) -> Vec<String> {
    let is_of_app = |table: &DatabaseTable, app: &AppSchema| {
        let is_mark = |other: &DatabaseTable| {
            other.is_in_home_schema && other.is_app_mark && other.name == app.version_table
        };
        app.creates_table(&table.name) && tables.iter().any(is_mark)
    };
    let is_own = |table: &DatabaseTable| match table.is_in_home_schema {
        true => is_demo_table(&table.name) || apps.iter().any(|app| is_of_app(table, app)),
        false => table.schema == HISTORY_SCHEMA,
    };
    let foreign = tables.iter().filter(|table| !is_own(table));
    foreign.map(DatabaseTable::sql_name).collect()
}

/// Refuses a database in which tables of the demo's names have the data of another application.
pub(super) async fn refuse_foreign_data(scripts: &ScriptRunner) -> anyhow::Result<()> {
    for foreign in foreign_data_sql() {
        let is_foreign = match scripts.execute(&foreign).await {
            Ok(rows) => rows > 0,
            Err(error) if error.sqlstate() == Some(UNDEFINED_TABLE) => false,
            Err(error) if error.sqlstate() == Some(UNDEFINED_COLUMN) => true,
            Err(error) => return Err(error.into()),
        };
        anyhow::ensure!(
            !is_foreign,
            "DATABASE_URL names a database with users, citas, businesses or services of its own, and {REMEDY}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str, name: &str, is_app_mark: bool) -> DatabaseTable {
        DatabaseTable {
            schema: schema.to_owned(),
            name: name.to_owned(),
            is_in_home_schema: schema == "public",
            is_app_mark,
        }
    }

    #[test]
    fn tables_of_the_demo_and_of_installed_apps_are_own() {
        let app = AppSchema {
            app: "notes",
            version_table: "notes",
            install_sql: "CREATE TABLE IF NOT EXISTS notes ();\nCREATE TABLE IF NOT EXISTS users ();\n",
            uninstall_sql: "",
            kept: &[],
            grants: &[],
            called_functions: &[],
        };
        let mut tables = vec![
            table("latido_history", "cut", false),
            table("otro", "citas", false),
            table("public", "citas", false),
            table("public", "Notes", false),
            table("public", "notes", true),
            table("public", "users", false),
        ];
        assert_eq!(
            foreign_tables(&tables, &[&app]),
            ["otro.citas", "\"Notes\""]
        );
        tables[4].is_app_mark = false;
        assert_eq!(
            foreign_tables(&tables, &[&app]),
            ["otro.citas", "\"Notes\"", "notes", "users"]
        );
    }
}
