//! Finds the privileges that a role lacks.

use tokio_postgres::types::Type;

use super::grant::Grant;
use crate::error::DatabaseError;
use crate::pool::Database;

/// Returns the positions of the privileges that the role `$1` lacks. Of a privilege on columns there
/// is one row for each.
const MISSING_SQL: &str = "SELECT DISTINCT g.position
  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6))
       AS g (position, kind, object, privilege, of_column)
 WHERE NOT CASE
   WHEN g.kind OPERATOR(pg_catalog.=) 'database' THEN pg_catalog.has_database_privilege($1, g.object, g.privilege)
   WHEN g.kind OPERATOR(pg_catalog.=) 'schema' THEN pg_catalog.has_schema_privilege($1, g.object, g.privilege)
   WHEN g.kind OPERATOR(pg_catalog.=) 'function' THEN pg_catalog.has_function_privilege($1, g.object, g.privilege)
   WHEN g.of_column OPERATOR(pg_catalog.=) '' THEN pg_catalog.has_table_privilege($1, g.object, g.privilege)
   ELSE pg_catalog.has_column_privilege($1, g.object, g.of_column, g.privilege)
   END
 ORDER BY g.position";

impl Database {
    /// Returns the privileges among these that the role lacks, or `None` if there is no such role.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable.
    pub async fn missing_grants(
        &self,
        role: &str,
        grants: &[Grant],
    ) -> Result<Option<Vec<Grant>>, DatabaseError> {
        let what = "the role's privileges";
        let sql = "SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1";
        let named = self.query(what, sql, &[(&role, Type::NAME)]).await?;
        if named.is_empty() {
            return Ok(None);
        }
        let (mut positions, mut kinds, mut objects) = (Vec::new(), Vec::new(), Vec::new());
        let (mut privileges, mut columns) = (Vec::new(), Vec::new());
        for (position, grant) in (0_i32..).zip(grants) {
            let whole = [String::new()];
            let of_columns = if grant.columns.is_empty() {
                &whole[..]
            } else {
                &grant.columns
            };
            for column in of_columns {
                positions.push(position);
                kinds.push(grant.object.kind());
                objects.push(grant.object.name());
                privileges.push(grant.privilege.as_str());
                columns.push(column.clone());
            }
        }
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 6] = [
            (&role, Type::NAME),
            (&positions, Type::INT4_ARRAY),
            (&kinds, Type::TEXT_ARRAY),
            (&objects, Type::TEXT_ARRAY),
            (&privileges, Type::TEXT_ARRAY),
            (&columns, Type::TEXT_ARRAY),
        ];
        let rows = self.query(what, MISSING_SQL, &params).await?;
        let position = |row: &tokio_postgres::Row| {
            let position: i32 = row.try_get(0).ok()?;
            grants.get(usize::try_from(position).ok()?).cloned()
        };
        Ok(Some(rows.iter().filter_map(position).collect()))
    }
}
