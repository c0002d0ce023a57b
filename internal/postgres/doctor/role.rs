//! What our role may do beyond reading: each power that nobody needs is one that whoever steals its password has.

use crate::postgres::doctor::Finding;
use crate::postgres::error::DatabaseError;
use crate::postgres::pool::Database;

/// Names shown of tables and schemas; the rest is counted.
const NAMED: usize = 3;

/// The role, its attributes, and in three lists what it owns, may write to, and may create in.
const POWERS: &str = "WITH ours AS (
    SELECT c.oid, c.relowner, c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema')
  SELECT r.rolname::text, r.rolsuper,
    array_remove(ARRAY[CASE WHEN r.rolcreaterole THEN 'create roles' END, CASE WHEN r.rolcreatedb THEN 'create databases' END,
      CASE WHEN r.rolreplication THEN 'replicate' END, CASE WHEN r.rolbypassrls THEN 'bypass row security' END], NULL),
    ARRAY(SELECT name FROM ours WHERE pg_has_role(relowner, 'USAGE') ORDER BY name),
    ARRAY(SELECT name FROM ours WHERE has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
      OR has_any_column_privilege(oid, 'INSERT, UPDATE') ORDER BY name),
    ARRAY(SELECT nspname::text FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
      AND has_schema_privilege(oid, 'CREATE') ORDER BY nspname)
  FROM pg_roles r WHERE r.rolname = current_user";

/// One line: what the role is, and what it could do that reading does not need.
pub(super) async fn examine(database: &Database) -> Finding {
    match powers(database).await {
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

async fn powers(database: &Database) -> Result<(String, Vec<String>), DatabaseError> {
    let rows = database.query("the doctor", POWERS, &[]).await?;
    let unreadable = |error: tokio_postgres::Error| DatabaseError::of("the doctor", &error);
    let Some(row) = rows.first() else {
        return Ok((String::new(), Vec::new()));
    };
    let name = row.try_get(0).map_err(unreadable)?;
    if row.try_get(1).map_err(unreadable)? {
        // Everything else follows from it.
        return Ok((name, vec!["is a superuser".to_owned()]));
    }
    let [may, owns, writes, creates] =
        [2, 3, 4, 5].map(|column| row.try_get::<_, Vec<String>>(column));
    let mut found: Vec<_> = may
        .map_err(unreadable)?
        .into_iter()
        .map(|what| format!("may {what}"))
        .collect();
    for (what, names) in [
        ("owns", owns),
        ("may write to", writes),
        ("may create in", creates),
    ] {
        let names = names.map_err(unreadable)?;
        if !names.is_empty() {
            found.push(format!("{what} {}", listed(&names)));
        }
    }
    Ok((name, found))
}

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_counted() {
        let names: Vec<_> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(listed(&names[..3]), "a, b, c");
        assert_eq!(listed(&names), "a, b, c and 2 more");
    }
}
