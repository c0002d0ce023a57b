//! The examination that `latido doctor` prints: what works, what does not, and what to do about it.

mod role;
mod server;
mod stream;
mod table;

use crate::postgres::pool::Database;
use crate::stream::Catalog;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but slower, later or less safely than it could.
    Warning,
    /// Something will not work.
    Failure,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// What to do, as text or SQL to run.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(level: Level, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            level,
            subject: subject.into(),
            detail: detail.into(),
            remedy: None,
        }
    }

    pub(crate) fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject, detail)
    }

    pub(crate) fn warning(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Level::Warning, subject, detail)
    }

    pub(crate) fn failure(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Level::Failure, subject, detail)
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Looks at the database from the connection to the plan of every stream's query. Changes nothing; runs each stream's query once.
pub async fn examine(database: &Database, catalog: &Catalog) -> Vec<Finding> {
    if let Err(error) = database.check().await {
        let remedy = "check host, port, user, password and sslmode of DATABASE_URL, and that the server runs";
        return vec![Finding::failure("connection", error.to_string()).remedy(remedy)];
    }
    let mut findings = server::examine(database).await;
    findings.push(role::examine(database).await);
    findings.push(server::listening(database).await);
    findings.extend(table::triggers(database, catalog).await);
    for (_, stream) in catalog.iter() {
        findings.extend(stream::examine(database, stream).await);
        for table in &stream.tables {
            findings.extend(table::examine(database, stream, table).await);
        }
    }
    findings
}
