//! What row-level security does to the reads of a stream's tables.

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::table_lookup::find_table_oid;
use latido_stream::SourceTable;

/// The row-level security of a table, for the role of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowSecurity {
    /// The table has none.
    Disabled,
    /// The role bypasses it: as a superuser, as the owner, or with BYPASSRLS.
    Bypassed,
    /// A policy shows every row to the role, and no other policy restricts that.
    ShowsEveryRow,
    /// Policies hide rows from the role, all of them if there is no policy.
    HidesRows,
}

impl RowSecurity {
    /// Reads the state of a table. Returns `None` if this role finds no such table.
    pub(super) async fn read(
        database: &Database,
        table: &SourceTable,
    ) -> Result<Option<Self>, DatabaseError> {
        match find_table_oid(database, table).await? {
            Some(oid) => Self::of_table(database, oid).await,
            None => Ok(None),
        }
    }

    /// Reads the state of the table with this OID. Returns `None` if there is none.
    pub(super) async fn of_table(
        database: &Database,
        oid: u32,
    ) -> Result<Option<Self>, DatabaseError> {
        let rows = database
            .query(
                "a look at the policies",
                include_str!("row_security.sql"),
                &[(&oid, Type::OID)],
            )
            .await?;
        Ok(rows.first().and_then(|row| {
            let [is_enabled, is_active, shows_all] =
                [0, 1, 2].map(|column| row.try_get::<_, bool>(column).ok());
            Some(match (is_enabled?, is_active?, shows_all?) {
                (false, ..) => Self::Disabled,
                (true, false, _) => Self::Bypassed,
                (true, true, true) => Self::ShowsEveryRow,
                (true, true, false) => Self::HidesRows,
            })
        }))
    }
}
