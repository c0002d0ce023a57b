//! The requests and responses of Phoenix' long polling. Pure: no socket, task or clock.
//!
//! Every response has the status 200 and a JSON body with the status that counts, as the original
//! (`phoenix/lib/phoenix/transports/long_poll.ex`) answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use latido_http::{AppRequest, AppResponse};
use latido_net::query;
use latido_protocol::Frame;

/// The beginning of a session's token, which no JWT has.
pub(super) const TOKEN_PREFIX: &str = "lp.";

/// The header with the session's token of the newest clients; others send it as `?token=`.
const TOKEN_HEADER: &str = "x-phoenix-longpoll-token";
/// The header with the user's token, of clients with `authToken`; others send it as `?token=`.
const AUTH_TOKEN_HEADER: &str = "x-phoenix-authtoken";

/// A message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientFrame {
    Text(String),
    Binary(Vec<u8>),
}

/// The status of a response, in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Messages follow, or the client's messages were handled.
    Ok,
    /// The poll has waited long enough, and nothing has come.
    NoContent,
    /// The batch of messages is not valid.
    BadRequest,
    /// The token is not valid any more; the client fetches another and comes back.
    Forbidden,
    /// The session is new, or it does not exist any more.
    Gone,
    /// The client comes back later.
    Error,
}

impl Status {
    fn code(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::NoContent => 204,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::Gone => 410,
            Self::Error => 500,
        }
    }
}

/// Returns the session's token of a request. Both tokens may be in `?token=`: the client appends
/// the session's to an address that has the user's.
pub(super) fn session_token(request: &AppRequest) -> Option<String> {
    let header = request.header(TOKEN_HEADER).map(str::to_owned);
    header.or_else(|| {
        query::values(request.raw_query(), "token")
            .filter(|token| token.starts_with(TOKEN_PREFIX))
            .last()
    })
}

/// Returns the user's token of a request.
pub(super) fn user_token(request: &AppRequest) -> Option<String> {
    query::values(request.raw_query(), "token")
        .find(|token| !token.is_empty() && !token.starts_with(TOKEN_PREFIX))
        .or_else(|| request.header(AUTH_TOKEN_HEADER).map(str::to_owned))
}

/// Returns the status for a session that does not exist any more. Clients before 1.8 take 410 for a
/// new session and do not join their channels again, but they do after an error. They are known by
/// a poll with a media type.
pub(super) fn gone_status(request: &AppRequest) -> Status {
    if request.method() == "GET" && request.header("content-type").is_some() {
        Status::Error
    } else {
        Status::Gone
    }
}

/// Splits a body into its messages. A body of the media type `application/x-ndjson` has one in each
/// line, and a binary one in base64.
///
/// # Errors
/// Returns [`Status::BadRequest`] if a message is neither.
pub(super) fn split_batch(request: &AppRequest) -> Result<Vec<ClientFrame>, Status> {
    let body = std::str::from_utf8(&request.body).map_err(|_| Status::BadRequest)?;
    let is_batch = request
        .header("content-type")
        .is_some_and(|media_type| media_type.starts_with("application/x-ndjson"));
    if !is_batch {
        return Ok(vec![ClientFrame::Text(body.to_owned())]);
    }
    let lines = body.lines().filter(|line| !line.is_empty());
    let frame = |line: &str| {
        if line.starts_with(['[', '{']) {
            return Ok(ClientFrame::Text(line.to_owned()));
        }
        let bytes = STANDARD.decode(line).map_err(|_| Status::BadRequest)?;
        Ok(ClientFrame::Binary(bytes))
    };
    lines.map(frame).collect()
}

/// Builds the response to a POST, or to a client that has no session.
pub(super) fn status_response(status: Status) -> AppResponse {
    AppResponse::json(200, json!({"status": status.code()}).to_string())
}

/// Builds the response to a poll.
pub(super) fn poll_response(status: Status, token: &str, frames: &[Frame]) -> AppResponse {
    let messages: Vec<&str> = frames.iter().map(Frame::payload).collect();
    let body = json!({"status": status.code(), "token": token, "messages": messages});
    AppResponse::json(200, body.to_string())
}

/// Builds the response for an error of HTTP. Clients know no other status than those above.
pub(super) fn error_response(http_status: u16, message: &str) -> AppResponse {
    let body = json!({"status": Status::Error.code(), "error": message});
    AppResponse::json(http_status, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_found_where_clients_put_it() {
        let both = |query: &str| {
            let request = AppRequest::new("GET", &format!("/socket/longpoll?{query}"));
            (user_token(&request), session_token(&request))
        };
        let some = |text: &str| Some(text.to_owned());
        // The first poll of 1.7 and 1.8 ends in an ampersand.
        assert_eq!(both("token=a.b.c&vsn=2.0.0&"), (some("a.b.c"), None));
        assert_eq!(
            both("token=a.b.c&vsn=2.0.0&token=lp.x"),
            (some("a.b.c"), some("lp.x"))
        );
        assert_eq!(both("vsn=2.0.0&token=lp.x"), (None, some("lp.x")));
        assert_eq!(both("vsn=2.0.0&token="), (None, None));
        let request = AppRequest::new("GET", "/socket/longpoll?vsn=2.0.0")
            .with_header("x-phoenix-authtoken", "a.b.c")
            .with_header("x-phoenix-longpoll-token", "lp.y");
        assert_eq!(user_token(&request), some("a.b.c"));
        assert_eq!(session_token(&request), some("lp.y"));
    }

    #[test]
    fn batch_is_split_into_texts_and_binaries() {
        let split = |media_type: &str, body: &str| {
            let request = AppRequest::new("POST", "/socket/longpoll")
                .with_header("content-type", media_type)
                .with_body(body.to_owned());
            split_batch(&request)
        };
        let text = |text: &str| ClientFrame::Text(text.to_owned());
        let body = "[\"1\"]\n{\"topic\":1}\r\n\nAAEC\n";
        assert_eq!(
            split("application/x-ndjson", body),
            Ok(vec![
                text("[\"1\"]"),
                text("{\"topic\":1}"),
                ClientFrame::Binary(vec![0, 1, 2])
            ])
        );
        assert_eq!(
            split("application/json", "[1]\n[2]"),
            Ok(vec![text("[1]\n[2]")])
        );
        assert_eq!(split("application/x-ndjson", "?"), Err(Status::BadRequest));
        assert_eq!(split("application/x-ndjson", ""), Ok(Vec::new()));
    }

    #[test]
    fn golden_responses() {
        let body = |response: AppResponse| String::from_utf8(response.body.to_vec()).unwrap();
        let frames = [Frame::text(r#"["1","1","t","e",{}]"#)];
        assert_eq!(
            body(poll_response(Status::Ok, "lp.x", &frames)),
            r#"{"status":200,"token":"lp.x","messages":["[\"1\",\"1\",\"t\",\"e\",{}]"]}"#
        );
        assert_eq!(
            body(poll_response(Status::Gone, "lp.x", &[])),
            r#"{"status":410,"token":"lp.x","messages":[]}"#
        );
        assert_eq!(
            body(status_response(Status::Forbidden)),
            r#"{"status":403}"#
        );
        let old = AppRequest::new("GET", "/").with_header("content-type", "application/json");
        assert_eq!(gone_status(&old), Status::Error);
        assert_eq!(gone_status(&AppRequest::new("GET", "/")), Status::Gone);
        assert_eq!(gone_status(&AppRequest::new("POST", "/")), Status::Gone);
    }
}
