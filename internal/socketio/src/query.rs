//! The query of a request, checked exactly as the reference server checks it. This module is pure.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};

use crate::error_response::EngineIoError;
use latido_http::RequestKind;
use latido_net::query::raw_value;
use latido_socketio_protocol::engineio::Version;

/// Classifies a request to an Engine.IO server, for
/// [`MountedService::classify`](latido_http::MountedService::classify).
///
/// # Errors
///
/// Returns `400` with the protocol's error number.
pub(crate) fn classify(head: &Parts, allows_v3: bool) -> Result<RequestKind, Box<Response<Bytes>>> {
    parse_query(&head.method, head.uri.query(), allows_v3).map_err(EngineIoError::refusal)
}

/// Returns the version of a classified request.
pub(crate) fn version(head: &Parts) -> Version {
    Version::from_query(raw_value(head.uri.query().unwrap_or_default(), "EIO"))
}

/// Returns the session that a request names.
pub(crate) fn session_id(head: &Parts) -> Option<&str> {
    raw_value(head.uri.query().unwrap_or_default(), "sid")
}

/// Returns whether the responses to the polls of a client may be binary (version 3).
pub(crate) fn supports_binary(head: &Parts) -> bool {
    let b64 = raw_value(head.uri.query().unwrap_or_default(), "b64");
    b64.is_none_or(str::is_empty)
}

/// Reads the version, the transport and the session of a query. The existence of the session is not
/// checked here.
fn parse_query(
    method: &Method,
    query: Option<&str>,
    allows_v3: bool,
) -> Result<RequestKind, EngineIoError> {
    let query = query.unwrap_or_default();
    let is_websocket = match raw_value(query, "transport") {
        Some("polling") => false,
        Some("websocket") => true,
        _ => return Err(EngineIoError::Transport),
    };
    let opens_session = raw_value(query, "sid").is_none();
    match raw_value(query, "EIO") {
        Some("4") => {}
        Some("3") if allows_v3 => {}
        _ => return Err(EngineIoError::Version),
    }
    let kind = RequestKind {
        is_websocket,
        opens_session,
    };
    match *method {
        Method::GET => Ok(kind),
        _ if opens_session => Err(EngineIoError::Method),
        Method::POST if !is_websocket => Ok(kind),
        _ => Err(EngineIoError::Request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_classified_like_the_reference_server() {
        for (method, query, expected) in [
            ("GET", "EIO=4&transport=polling", Ok((false, true))),
            (
                "GET",
                "EIO=4&transport=polling&sid=a&t=b",
                Ok((false, false)),
            ),
            ("POST", "EIO=4&transport=polling&sid=a", Ok((false, false))),
            ("GET", "transport=websocket&EIO=4", Ok((true, true))),
            ("GET", "EIO=4&transport=websocket&sid=", Ok((true, false))),
            (
                "POST",
                "EIO=4&transport=polling",
                Err(EngineIoError::Method),
            ),
            ("PUT", "EIO=4&transport=polling", Err(EngineIoError::Method)),
            (
                "PUT",
                "EIO=4&transport=polling&sid=a",
                Err(EngineIoError::Request),
            ),
            (
                "POST",
                "EIO=4&transport=websocket&sid=a",
                Err(EngineIoError::Request),
            ),
            ("GET", "EIO=4", Err(EngineIoError::Transport)),
            ("GET", "EIO=4&transport=abc", Err(EngineIoError::Transport)),
            ("GET", "transport=polling", Err(EngineIoError::Version)),
            (
                "GET",
                "EIO=abc&transport=polling",
                Err(EngineIoError::Version),
            ),
            (
                "GET",
                "EIO=3&transport=polling",
                Err(EngineIoError::Version),
            ),
            (
                "GET",
                "EIO=44&transport=polling",
                Err(EngineIoError::Version),
            ),
        ] {
            let read = parse_query(&method.parse().unwrap(), Some(query), false)
                .map(|kind| (kind.is_websocket, kind.opens_session));
            assert_eq!(read, expected, "{method} {query}");
        }
        assert_eq!(
            parse_query(&Method::GET, None, false),
            Err(EngineIoError::Transport)
        );
        let v3 = Some("EIO=3&transport=polling");
        assert!(parse_query(&Method::GET, v3, true).is_ok());
    }
}
