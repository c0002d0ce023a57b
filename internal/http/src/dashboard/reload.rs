//! `POST /dashboard/reload`: reads the configuration again.

use serde_json::{Value, json};
use warp::http::StatusCode;

use crate::error::{ApiError, RETRY_SOON};
use latido_admin::{Reload, ReloadError, ReloadReport};

/// Reads the configuration again, on behalf of an operator. Returns what changed.
///
/// # Errors
/// Nothing changed: the configuration has mistakes, or the database does not answer.
pub(super) async fn reload(reload: Option<&dyn Reload>) -> Result<Value, ApiError> {
    let Some(reload) = reload else {
        let message = "this server has no configuration to read again; expected one that latido serve started";
        return Err(ApiError::not_found_because(message.to_owned()));
    };
    match reload.reload().await {
        Ok(report) => Ok(report_json(&report)),
        Err(error @ ReloadError::Mistakes(_)) => Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_configuration",
            error.to_string(),
        )),
        Err(error @ ReloadError::Unavailable(_)) => {
            let message = error.to_string();
            Err(ApiError::unavailable("unavailable", message, RETRY_SOON))
        }
    }
}

fn report_json(report: &ReloadReport) -> Value {
    json!({
        "added": report.added,
        "changed": report.changed,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "limits": report.limits,
        "needsRestart": report.needs_restart,
        "warnings": report.warnings,
    })
}
