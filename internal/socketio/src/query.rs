//! The query of a request, checked exactly as the reference server checks it. This module is pure.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use latido_http::RequestKind;

/// An error of the Engine.IO protocol, which defines its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EngineIoError {
    Transport,
    Method,
    Request,
    Version,
}

/// Classifies a request to an Engine.IO server, for
/// [`MountedService::classify`](latido_http::MountedService::classify).
///
/// # Errors
///
/// Returns `400` with the protocol's error number.
pub(super) fn classify(head: &Parts) -> Result<RequestKind, Box<Response<Bytes>>> {
    parse_query(&head.method, head.uri.query()).map_err(|error| Box::new(error.into()))
}

/// Reads the version, the transport and the session of a query. The existence of the session is not
/// checked here.
fn parse_query(method: &Method, query: Option<&str>) -> Result<RequestKind, EngineIoError> {
    let query = query.unwrap_or_default();
    let value = |name: &str| latido_net::query::raw_value(query, name);
    let websocket = match value("transport") {
        Some("polling") => false,
        Some("websocket") => true,
        _ => return Err(EngineIoError::Transport),
    };
    let opens = value("sid").is_none();
    if value("EIO") != Some("4") {
        return Err(EngineIoError::Version);
    }
    match *method {
        Method::GET => Ok(RequestKind {
            is_websocket: websocket,
            opens_session: opens,
        }),
        _ if opens => Err(EngineIoError::Method),
        Method::POST if !websocket => Ok(RequestKind {
            is_websocket: websocket,
            opens_session: opens,
        }),
        _ => Err(EngineIoError::Request),
    }
}

impl From<EngineIoError> for Response<Bytes> {
    fn from(error: EngineIoError) -> Self {
        let (code, message) = match error {
            EngineIoError::Transport => (0, "Transport unknown"),
            EngineIoError::Method => (2, "Bad handshake method"),
            EngineIoError::Request => (3, "Bad request"),
            EngineIoError::Version => (5, "Unsupported protocol version"),
        };
        let mut response = Self::new(format!(r#"{{"code":{code},"message":"{message}"}}"#).into());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
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
            let read = parse_query(&method.parse().unwrap(), Some(query))
                .map(|kind| (kind.is_websocket, kind.opens_session));
            assert_eq!(read, expected, "{method} {query}");
        }
        assert_eq!(
            parse_query(&Method::GET, None),
            Err(EngineIoError::Transport)
        );
    }
}
