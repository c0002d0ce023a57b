//! Checks the server's notification queue.

use crate::doctor::finding::Finding;
use crate::pool::Database;

/// The fill level from which a full queue is near.
const NEARLY_FULL: f64 = 0.75;

pub(super) async fn examine(database: &Database) -> Finding {
    let subject = "notification queue";
    let report = match database.notify_queue().await {
        Ok(report) => report,
        Err(error) => return Finding::failure(subject, error.to_string()),
    };
    let percent = report.usage * 100.0;
    if !report.is_filling() {
        return Finding::ok(subject, format!("{percent:.0} % full"));
    }
    let detail = format!(
        "{percent:.0} % full, and when it is full, commits that notify fail; open longest: {}",
        report.blocking_names()
    );
    let finding = if report.usage < NEARLY_FULL {
        Finding::warning(subject, detail)
    } else {
        Finding::failure(subject, detail)
    };
    finding.remedy(
        "end the session that listens and stays in a transaction or never reads: SELECT pg_terminate_backend(pid)",
    )
}
