//! The check of the streams before triggers are installed for them.

use tokio_postgres::error::SqlState;

use crate::error::{DatabaseError, ROW_SECURITY_REMEDY};
use crate::pool::Database;
use crate::row_security::RowSecurity;
use crate::triggers::{InstallChange, InstallError};
use latido_stream::{Catalog, Stream};

impl Database {
    /// Prepares every stream as a server does, with the role of this connection. Returns a refusal for
    /// each one that no server could read, a warning for each one that a server with this role could
    /// not read, and a warning for each table with row-level security.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable, or for all key columns that spell keys in
    /// another way than the server: the triggers on such a table would notify nobody. A stream whose
    /// `authorize` query takes other parameters than it is given is an error too, and so is one whose
    /// history has another form than its query. Beside such a mistake the refused queries are errors,
    /// so that all are told together.
    pub async fn check_streams(
        &self,
        catalog: &Catalog,
    ) -> Result<Vec<InstallChange>, InstallError> {
        let (mut mistakes, mut mismatches) = (Vec::new(), Vec::new());
        let (mut refused, mut warnings) = (Vec::new(), Vec::new());
        for (_, stream) in catalog.iter() {
            match self.prepare_stream(stream).await {
                Ok(prepared) => {
                    let claims = prepared.claims_type.as_ref().err();
                    for error in claims.into_iter().chain(prepared.history.as_ref().err()) {
                        match error {
                            DatabaseError::Unfit { .. } => mistakes.push(error.clone().into()),
                            _ => sort(error.clone(), &mut refused, &mut warnings),
                        }
                    }
                }
                Err(DatabaseError::KeyMismatch(mismatch)) => mismatches.push(*mismatch),
                Err(error @ DatabaseError::Unavailable { .. }) => return Err(error.into()),
                Err(error) => sort(error, &mut refused, &mut warnings),
            }
            warnings.extend(self.row_security_warnings(stream).await?);
        }
        if !mismatches.is_empty() {
            mistakes.push(InstallError::KeyMismatches(mismatches));
        }
        if mistakes.is_empty() {
            let refused = refused.into_iter().map(InstallChange::Refused);
            let warnings = warnings.into_iter().map(InstallChange::Warning);
            return Ok(refused.chain(warnings).collect());
        }
        let refused = refused.into_iter();
        let told = refused.filter(|error| !error.is_missing_table());
        mistakes.extend(told.map(InstallError::from));
        Err(InstallError::all(mistakes))
    }

    /// Returns a warning for each table whose row-level security this role bypasses: the role that
    /// serves may be another one.
    async fn row_security_warnings(&self, stream: &Stream) -> Result<Vec<String>, DatabaseError> {
        let mut warnings = Vec::new();
        if self.reads_through_policies() {
            return Ok(warnings);
        }
        for table in &stream.tables {
            if RowSecurity::read(self, table).await? == Some(RowSecurity::Bypassed) {
                warnings.push(format!(
                    "stream {}: table {} has row-level security, which this role bypasses; so must the role that serves: {ROW_SECURITY_REMEDY}",
                    stream.name, table.name
                ));
            }
        }
        Ok(warnings)
    }
}

/// Sorts an error of preparing a stream: this role may lack a right that the serving role has, or a
/// lock may be held. Otherwise no server can read the stream.
fn sort(error: DatabaseError, refused: &mut Vec<DatabaseError>, warnings: &mut Vec<String>) {
    let passing = [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    match error.sqlstate() {
        Some(code) if passing.iter().any(|passing| passing.code() == code) => {
            warnings.push(error.to_string());
        }
        _ => refused.push(error),
    }
}
