//! Checks the privileges of the server's role. Each privilege beyond reading is one more for an
//! attacker with the role's password.

use tokio_postgres::types::Type;

use crate::doctor::finding::Finding;
use crate::error::DatabaseError;
use crate::grants::{Grant, ServingNeeds};
use crate::pool::Database;

/// The largest number of tables or schemas that are named; the others are counted.
const MAX_NAMED: usize = 3;

/// Reads the role and its privileges.
const PRIVILEGES_SQL: &str = include_str!("privileges.sql");

/// The role, and what it may do.
#[derive(Debug, Default)]
struct RolePrivileges {
    name: String,
    /// The privileges that neither reading nor the apps need.
    excess: Vec<String>,
    /// What every role may create, unless the database's owner has taken it away.
    creates: Vec<String>,
}

/// Returns the findings about the role: the privileges that it does not need, and those that it
/// lacks.
pub(super) async fn examine(database: &Database, needs: ServingNeeds<'_>) -> Vec<Finding> {
    // Missing tables are findings of their own.
    let grants = database.serving_grants(needs).await.unwrap_or_default();
    let role = match read_privileges(database, &grants).await {
        Ok(role) => role,
        Err(error) => return vec![Finding::failure("role", error.to_string())],
    };
    let mut findings = vec![excess_finding(&role)];
    match database.missing_grants(&role.name, &grants).await {
        Ok(Some(missing)) => findings.extend(missing_finding(&role.name, &missing)),
        Ok(None) => {}
        Err(error) => findings.push(Finding::failure("privileges", error.to_string())),
    }
    findings
}

fn excess_finding(role: &RolePrivileges) -> Finding {
    let name = &role.name;
    if role.excess.is_empty() {
        let more = if role.creates.is_empty() {
            "and nothing else".to_owned()
        } else {
            format!(
                "and create {}, as every role may",
                role.creates.join(" and ")
            )
        };
        return Finding::ok("role", format!("{name} may do what serving needs, {more}"));
    }
    let remedy = "serve as a role with CONNECT on the database and SELECT on the columns that the queries read, as sql/role.sql \
                  makes it; let the owner run `latido install`";
    let detail = format!(
        "{name} {}; reading needs no such power",
        role.excess.join(", ")
    );
    Finding::warning("role", detail).remedy(remedy)
}

fn missing_finding(role: &str, missing: &[Grant]) -> Option<Finding> {
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let detail = format!("{role} lacks {}", list_names(&names));
    let remedy = format!("as the owner of the tables: `latido grants --role {role} --apply`");
    (!names.is_empty()).then(|| Finding::failure("privileges", detail).remedy(remedy))
}

async fn read_privileges(
    database: &Database,
    grants: &[Grant],
) -> Result<RolePrivileges, DatabaseError> {
    let written: Vec<String> = grants.iter().filter_map(Grant::written_table).collect();
    let params = [(&written as _, Type::TEXT_ARRAY)];
    let rows = database
        .query("the doctor", PRIVILEGES_SQL, &params)
        .await?;
    let to_error = |error: tokio_postgres::Error| DatabaseError::from_driver("the doctor", &error);
    let Some(row) = rows.first() else {
        return Ok(RolePrivileges::default());
    };
    let name = row.try_get(0).map_err(to_error)?;
    let mut role = RolePrivileges {
        name,
        excess: Vec::new(),
        creates: row.try_get(6).map_err(to_error)?,
    };
    if row.try_get(1).map_err(to_error)? {
        // A superuser has all other privileges.
        role.excess.push("is a superuser".to_owned());
        return Ok(role);
    }
    let [may, owns, writes, creates] =
        [2, 3, 4, 5].map(|column| row.try_get::<_, Vec<String>>(column));
    let attributes = may.map_err(to_error)?.into_iter();
    role.excess
        .extend(attributes.map(|what| format!("may {what}")));
    for (what, names) in [
        ("owns", owns),
        ("may write to", writes),
        ("may create in", creates),
    ] {
        let names = names.map_err(to_error)?;
        if !names.is_empty() {
            role.excess.push(format!("{what} {}", list_names(&names)));
        }
    }
    Ok(role)
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
