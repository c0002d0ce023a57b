//! The transaction that installs or removes: as statements on a connection, and as a script.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::error::InstallError;
use super::generate::SETTINGS_SQL;
use super::script::{ScriptSection, build_script};

/// The lock that prevents two installations at the same time.
const INSTALL_LOCK: &str = "pg_catalog.pg_advisory_xact_lock(7233748251341)";

/// Returns the script for psql that does what [`run_transaction`] does.
pub(super) fn transaction_script(todo: &[ScriptSection]) -> String {
    build_script(&format!("{SETTINGS_SQL}\nSELECT {INSTALL_LOCK};"), todo)
}

/// Returns the script that does the same in the transaction of a migration tool, and leaves the
/// settings of that as they were.
pub(super) fn migration_script(todo: &[ScriptSection]) -> String {
    let parts: Vec<_> = todo.iter().map(|section| section.sql.as_str()).collect();
    format!(
        "{}\n{SETTINGS_SQL}\nDO $latido$ BEGIN PERFORM {INSTALL_LOCK}; END $latido$;\n\n{}\n\n{}",
        include_str!("migration_begin.sql").trim_end(),
        parts.join("\n"),
        include_str!("migration_end.sql")
    )
}

/// Runs the sections as one transaction. After an error nothing is changed.
pub(super) async fn run_transaction(
    client: &Client,
    todo: &[ScriptSection],
) -> Result<(), InstallError> {
    let begin = ScriptSection {
        subject: "the transaction".to_owned(),
        sql: format!("BEGIN READ WRITE;\n{SETTINGS_SQL}\nSELECT {INSTALL_LOCK};"),
    };
    let commit = ScriptSection {
        subject: "the transaction".to_owned(),
        sql: "COMMIT".to_owned(),
    };
    for section in std::iter::once(&begin).chain(todo).chain([&commit]) {
        if let Err(error) = client.batch_execute(&section.sql).await {
            // The connection itself may have failed; then there is nothing to roll back.
            let _ = client.batch_execute("ROLLBACK").await;
            let locked = error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
            let subject = section.subject.clone();
            return Err(if locked {
                InstallError::Locked { subject }
            } else {
                InstallError::from_driver(subject, &error)
            });
        }
    }
    Ok(())
}
