//! The body of every error response.

use serde_json::json;

/// Formats an error's JSON body, the same for all responses.
pub fn json_error(code: &str, message: &str) -> String {
    json!({"error": {"code": code, "message": message}}).to_string()
}
