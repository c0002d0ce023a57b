//! The checks that `latido doctor` prints: the state of each part, with remedies for problems.

mod role;
mod server;
mod stream;
mod table;

use crate::pool::Database;
use latido_stream::Catalog;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingLevel {
    /// The checked part works as it should.
    Ok,
    /// It works, but slower, later or less safely than possible.
    Warning,
    /// A part of the server will not work.
    Failure,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The severity of this finding.
    pub level: FindingLevel,
    /// The part that was checked.
    pub subject: String,
    /// The result of the check.
    pub detail: String,
    /// The recommended action, as text or SQL to run.
    pub with_remedy: Option<String>,
}

impl Finding {
    fn new(level: FindingLevel, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            level,
            subject: subject.into(),
            detail: detail.into(),
            with_remedy: None,
        }
    }

    pub fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FindingLevel::Ok, subject, detail)
    }

    pub fn warning(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FindingLevel::Warning, subject, detail)
    }

    pub fn failure(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FindingLevel::Failure, subject, detail)
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.with_remedy = Some(remedy.into());
        self
    }
}

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
        }
    }
    findings
}
