//! Checks what row-level security does to a stream, if policies may filter its reads.

use crate::doctor::finding::Finding;
use crate::doctor::stream::subject;
use crate::pool::Database;
use crate::row_security::RowSecurity;
use latido_stream::{SourceTable, Stream};

/// Returns a finding for a table whose policies concern this role. Without `ROW_SECURITY` there is
/// none, because PostgreSQL refuses the query itself.
pub(super) async fn examine(
    database: &Database,
    stream: &Stream,
    table: &SourceTable,
) -> Option<Finding> {
    if !database.reads_through_policies() {
        return None;
    }
    let of = subject(stream, &format!("row security of {}", table.name));
    match RowSecurity::read(database, table).await {
        Ok(Some(RowSecurity::HidesRows)) => {
            let detail = "policies hide rows from this role: the numbers count only what they show";
            let remedy = format!(
                "CREATE POLICY … ON {} FOR SELECT TO … USING (true), or ALTER ROLE … BYPASSRLS",
                table.name
            );
            Some(Finding::warning(of, detail).remedy(remedy))
        }
        Ok(Some(RowSecurity::ShowsEveryRow)) => {
            Some(Finding::ok(of, "a policy shows every row to this role"))
        }
        Ok(_) => None,
        Err(error) => Some(Finding::failure(of, error.to_string())),
    }
}
