//! The checks that `latido doctor` prints: the state of each part, with remedies for problems.

mod finding;
mod policies;
mod role;
mod server;
mod stream;
mod table;

use crate::pool::Database;
use latido_stream::Catalog;

pub use finding::{Finding, FindingLevel};

/// Checks the database, from the connection to the plan of every stream's query. Changes nothing,
/// but runs each stream's query once.
pub async fn examine(database: &Database, catalog: &Catalog) -> Vec<Finding> {
    if let Err(error) = database.check_connection().await {
        let remedy = "check host, port, user, password and sslmode of DATABASE_URL, and that the server runs";
        return vec![Finding::failure("connection", error.to_string()).remedy(remedy)];
    }
    let mut findings = server::examine(database).await;
    findings.push(role::examine(database).await);
    findings.push(server::check_listen(database).await);
    findings.extend(table::trigger_findings(database, catalog).await);
    for (_, stream) in catalog.iter() {
        findings.extend(stream::examine(database, stream).await);
        for table in &stream.tables {
            findings.extend(table::examine(database, stream, table).await);
            findings.extend(policies::examine(database, stream, table).await);
        }
    }
    findings
}
