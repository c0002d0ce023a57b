//! Checks the privileges of the server's role. Each privilege beyond reading is one more for an
//! attacker with the role's password.

use crate::doctor::finding::Finding;
use crate::error::DatabaseError;
use crate::pool::Database;

/// The largest number of tables or schemas that are named; the others are counted.
const MAX_NAMED: usize = 3;

/// Reads the role, its attributes, and three lists: the tables that it owns, the tables that it may
/// write, and the schemas in which it may create objects. Bypassing row-level security is no excess
/// privilege in a database that has it.
const PRIVILEGES_SQL: &str = "WITH schemas AS (
    SELECT n.oid, n.nspname::pg_catalog.text AS name FROM pg_catalog.pg_namespace n
    WHERE NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_') AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema'),
  ours AS (
    SELECT c.oid, c.relowner, c.relrowsecurity AS has_row_security, c.oid::pg_catalog.regclass::pg_catalog.text AS name
    FROM pg_catalog.pg_class c JOIN schemas n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[]))
  SELECT r.rolname::pg_catalog.text, r.rolsuper,
    pg_catalog.array_remove(ARRAY[CASE WHEN r.rolcreaterole THEN 'create roles' END, CASE WHEN r.rolcreatedb THEN 'create databases' END,
      CASE WHEN r.rolreplication THEN 'replicate' END,
      CASE WHEN r.rolbypassrls AND NOT EXISTS (SELECT FROM ours WHERE has_row_security) THEN 'bypass row security' END], NULL),
    ARRAY(SELECT name FROM ours WHERE pg_catalog.pg_has_role(relowner, 'USAGE') ORDER BY name),
    ARRAY(SELECT name FROM ours WHERE pg_catalog.has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
      OR pg_catalog.has_any_column_privilege(oid, 'INSERT, UPDATE') ORDER BY name),
    ARRAY(SELECT name FROM schemas WHERE pg_catalog.has_schema_privilege(oid, 'CREATE') ORDER BY name)
  FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user";

/// Returns one finding: the role, and its privileges that reading does not need.
pub(super) async fn examine(database: &Database) -> Finding {
    match excess_privileges(database).await {
        Ok((name, found)) if found.is_empty() => {
            Finding::ok("role", format!("{name} may read, and nothing else"))
        }
        Ok((name, found)) => {
            let remedy = "serve as a role with CONNECT on the database and SELECT on the columns that the queries read, as sql/role.sql \
                          makes it; let the owner run `latido install`";
            Finding::warning(
                "role",
                format!("{name} {}; reading needs no such power", found.join(", ")),
            )
            .remedy(remedy)
        }
        Err(error) => Finding::failure("role", error.to_string()),
    }
}

async fn excess_privileges(database: &Database) -> Result<(String, Vec<String>), DatabaseError> {
    let rows = database.query("the doctor", PRIVILEGES_SQL, &[]).await?;
    let to_error = |error: tokio_postgres::Error| DatabaseError::from_driver("the doctor", &error);
    let Some(row) = rows.first() else {
        return Ok((String::new(), Vec::new()));
    };
    let name = row.try_get(0).map_err(to_error)?;
    if row.try_get(1).map_err(to_error)? {
        // A superuser has all other privileges.
        return Ok((name, vec!["is a superuser".to_owned()]));
    }
    let [may, owns, writes, creates] =
        [2, 3, 4, 5].map(|column| row.try_get::<_, Vec<String>>(column));
    let mut found: Vec<_> = may
        .map_err(to_error)?
        .into_iter()
        .map(|what| format!("may {what}"))
        .collect();
    for (what, names) in [
        ("owns", owns),
        ("may write to", writes),
        ("may create in", creates),
    ] {
        let names = names.map_err(to_error)?;
        if !names.is_empty() {
            found.push(format!("{what} {}", list_names(&names)));
        }
    }
    Ok((name, found))
}

fn list_names(names: &[String]) -> String {
    let shown = names[..names.len().min(MAX_NAMED)].join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_list_ends_with_a_count() {
        let names: Vec<_> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(list_names(&names[..3]), "a, b, c");
        assert_eq!(list_names(&names), "a, b, c and 2 more");
    }
}
