//! The checks that `latido doctor` prints: the state of each part, with remedies for problems.

mod finding;
mod inferred;
mod lookup;
mod lookup_check;
mod partitions;
mod policies;
mod queue;
mod reads;
mod role;
mod server;
mod stream;
mod table;

use crate::grants::ServingNeeds;
use crate::pool::Database;
use latido_stream::Catalog;

pub use finding::{Finding, FindingLevel};
pub(crate) use reads::{DayParameters, note_remedy};

/// Checks the database for a server without apps; see [`examine_for`].
pub async fn examine(database: &Database, catalog: &Catalog) -> Vec<Finding> {
    let needs = ServingNeeds {
        catalog,
        tables: &[],
        apps: &[],
    };
    examine_for(database, needs).await
}

/// Checks the database, from the connection to the plan of every stream's query. Changes nothing,
/// but runs each stream's query once.
pub async fn examine_for(database: &Database, needs: ServingNeeds<'_>) -> Vec<Finding> {
    let catalog = needs.catalog;
    if let Err(error) = database.check_connection().await {
        let remedy = "check host, port, user, password and sslmode of DATABASE_URL, and that the server runs";
        return vec![Finding::failure("connection", error.to_string()).remedy(remedy)];
    }
    let mut findings = server::examine(database, catalog).await;
    findings.extend(role::examine(database, needs).await);
    findings.push(server::check_listen(database).await);
    findings.push(queue::examine(database).await);
    findings.extend(table::trigger_findings(database, catalog).await);
    // A database that fails has findings already.
    let recorded = database.recorded_streams().await.unwrap_or_default();
    for (_, stream) in catalog.iter() {
        if let Some(problem) = stream.inference.key_problem() {
            findings.push(Finding::failure(
                stream::subject(stream, "inferred"),
                &problem.detail,
            ));
            continue;
        }
        findings.extend(inferred::examine(database, stream, &recorded).await);
        let mut of_tables = Vec::new();
        for table in &stream.tables {
            of_tables.extend(table::examine(database, stream, table).await);
            of_tables.extend(lookup::examine(database, catalog, stream, table).await);
            of_tables.extend(policies::examine(database, stream, table).await);
        }
        let of_query = stream::examine(database, stream, &of_tables).await;
        let is_valid = of_query
            .iter()
            .all(|finding| finding.level != FindingLevel::Failure);
        findings.extend(of_query);
        if is_valid && stream.inference.gap.is_none() {
            findings.extend(reads::examine(database, stream).await);
        }
        findings.extend(of_tables);
    }
    findings
}

/// Tries to refute the keys that the tables of each stream find: changes copies of their rows, in
/// temporary tables, and compares. The real tables are only read.
pub async fn examine_lookups(database: &Database, catalog: &Catalog) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, stream) in catalog.iter() {
        findings.extend(lookup_check::examine(database, stream).await);
    }
    findings
}
