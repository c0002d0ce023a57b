//! The check of the streams before triggers are installed for them.

use crate::error::{DatabaseError, ROW_SECURITY_REMEDY};
use crate::pool::Database;
use crate::row_security::RowSecurity;
use crate::triggers::InstallError;
use latido_stream::{Catalog, Stream};

impl Database {
    /// Prepares every stream as a server does, with the role of this connection. Returns a warning
    /// for each one that a server with this role could not read, and for each table with row-level
    /// security.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable, or for all key columns that spell keys in
    /// another way than the server: the triggers on such a table would notify nobody. A stream whose
    /// `authorize` query takes other parameters than it is given is an error too.
    pub async fn check_streams(&self, catalog: &Catalog) -> Result<Vec<String>, InstallError> {
        let (mut mismatches, mut warnings) = (Vec::new(), Vec::new());
        for (_, stream) in catalog.iter() {
            match self.prepare_stream(stream).await {
                Ok(prepared) => match &prepared.claims_type {
                    Ok(_) => {}
                    Err(unfit @ DatabaseError::Unfit { .. }) => return Err(unfit.clone().into()),
                    Err(error) => warnings.push(error.to_string()),
                },
                Err(DatabaseError::KeyMismatch(mismatch)) => mismatches.push(*mismatch),
                Err(error @ DatabaseError::Unavailable { .. }) => return Err(error.into()),
                Err(error) => warnings.push(error.to_string()),
            }
            warnings.extend(self.row_security_warnings(stream).await?);
        }
        if mismatches.is_empty() {
            Ok(warnings)
        } else {
            Err(InstallError::KeyMismatches(mismatches))
        }
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
