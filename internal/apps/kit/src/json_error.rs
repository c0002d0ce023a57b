//! JSON error responses in the form that an app's clients know. Pure.

use std::fmt;

use serde_json::{Value, json};

use latido_http::AppResponse;

/// The form of an app's error responses, and the texts of those that its router sends.
#[derive(Clone, Copy)]
pub struct ErrorFormat {
    /// Builds the body from a machine-readable code and a text for people.
    pub body: fn(code: &str, message: &str) -> Value,
    /// The text for a path without a route.
    pub not_found: &'static str,
    /// The text for a route without this method.
    pub method_not_allowed: &'static str,
}

impl Default for ErrorFormat {
    /// Returns the form of the server's own errors: `{"error":{"code":…,"message":…}}`.
    fn default() -> Self {
        Self {
            body: |code, message| json!({"error": {"code": code, "message": message}}),
            not_found: "nothing is here",
            method_not_allowed: "this address has another method",
        }
    }
}

impl ErrorFormat {
    /// Builds a response with this status. `code` appears in the body only if the form has a place
    /// for it.
    pub fn response(&self, status: u16, code: &str, message: &str) -> AppResponse {
        AppResponse::json(status, (self.body)(code, message).to_string())
    }

    /// Builds a 400: the request is malformed, as `message` explains.
    pub fn bad_request(&self, message: &str) -> AppResponse {
        self.response(400, "bad_request", message)
    }

    /// Builds a 401: the credentials are missing or invalid.
    pub fn unauthorized(&self, message: &str) -> AppResponse {
        self.response(401, "unauthorized", message)
    }

    /// Builds a 403: the client is known and may not do this.
    pub fn forbidden(&self, message: &str) -> AppResponse {
        self.response(403, "forbidden", message)
    }

    /// Builds a 404: the object of the request does not exist.
    pub fn not_found(&self, message: &str) -> AppResponse {
        self.response(404, "not_found", message)
    }

    /// Builds the 404 for a path without a route.
    pub fn no_route(&self) -> AppResponse {
        self.not_found(self.not_found)
    }

    /// Builds a 405 with the header `Allow`, whose value is such as `GET, HEAD`.
    pub fn method_not_allowed(&self, allow: &str) -> AppResponse {
        self.response(405, "method_not_allowed", self.method_not_allowed)
            .with_header("allow", allow)
    }

    /// Builds a 413: the body is too large.
    pub fn too_large(&self, message: &str) -> AppResponse {
        self.response(413, "too_large", message)
    }

    /// Builds a 415: the body has another media type than the route reads.
    pub fn unsupported_media_type(&self, message: &str) -> AppResponse {
        self.response(415, "unsupported_media_type", message)
    }

    /// Builds a 503: the request can't be served now.
    pub fn unavailable(&self, message: &str) -> AppResponse {
        self.response(503, "unavailable", message)
    }

    /// Builds a 503 that asks the client to repeat the request after a second.
    pub fn retry_later(&self, message: &str) -> AppResponse {
        self.unavailable(message).with_header("retry-after", "1")
    }
}

impl fmt::Debug for ErrorFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorFormat")
            .field("not_found", &self.not_found)
            .field("method_not_allowed", &self.method_not_allowed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &AppResponse) -> &str {
        std::str::from_utf8(&response.body).unwrap()
    }

    #[test]
    fn every_error_has_the_form_of_its_app() {
        let errors = ErrorFormat {
            body: |_, message| json!({"success": false, "error": message}),
            not_found: "Not found",
            method_not_allowed: "Method not allowed",
        };
        let built = [
            errors.bad_request("a"),
            errors.unauthorized("a"),
            errors.forbidden("a"),
            errors.not_found("a"),
            errors.too_large("a"),
            errors.unsupported_media_type("a"),
            errors.unavailable("a"),
        ];
        let statuses: Vec<u16> = built.iter().map(|response| response.status).collect();
        assert_eq!(statuses, [400, 401, 403, 404, 413, 415, 503]);
        for response in &built {
            assert_eq!(body(response), r#"{"success":false,"error":"a"}"#);
            assert_eq!(
                response.headers,
                [
                    ("content-type", "application/json".to_owned()),
                    ("cache-control", "no-store".to_owned())
                ]
            );
        }
        assert_eq!(
            body(&errors.no_route()),
            r#"{"success":false,"error":"Not found"}"#
        );
    }

    #[test]
    fn some_errors_tell_clients_how_to_continue() {
        let errors = ErrorFormat::default();
        let response = errors.method_not_allowed("GET, HEAD");
        assert_eq!(
            (response.status, body(&response)),
            (
                405,
                r#"{"error":{"code":"method_not_allowed","message":"this address has another method"}}"#
            )
        );
        assert!(
            response
                .headers
                .contains(&("allow", "GET, HEAD".to_owned()))
        );
        let response = errors.retry_later("busy");
        assert_eq!(response.status, 503);
        assert!(response.headers.contains(&("retry-after", "1".to_owned())));
    }
}
