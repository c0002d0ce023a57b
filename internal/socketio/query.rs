//! What a request's query says, judged as the protocol's own server judges it. Pure.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use crate::socketio::Ask;

/// Why a request can't be had, with the protocol's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Transport,
    Method,
    Request,
    Version,
}

/// What a request to an Engine.IO server wants, for [`Gate::judge`](crate::socketio::Gate::judge).
///
/// # Errors
/// `400` with the protocol's number for what is wrong.
pub(super) fn judge(head: &Parts) -> Result<Ask, Box<Response<Bytes>>> {
    read(&head.method, head.uri.query()).map_err(|fault| Box::new(fault.into()))
}

/// Reads a query: version, transport, and whether it names a session. Whether the session is there, the sessions know.
fn read(method: &Method, query: Option<&str>) -> Result<Ask, Fault> {
    let query = query.unwrap_or_default();
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let websocket = match value("transport") {
        Some("polling") => false,
        Some("websocket") => true,
        _ => return Err(Fault::Transport),
    };
    let opens = value("sid").is_none();
    if value("EIO") != Some("4") {
        return Err(Fault::Version);
    }
    match *method {
        Method::GET => Ok(Ask { websocket, opens }),
        _ if opens => Err(Fault::Method),
        Method::POST if !websocket => Ok(Ask { websocket, opens }),
        _ => Err(Fault::Request),
    }
}

impl From<Fault> for Response<Bytes> {
    fn from(fault: Fault) -> Self {
        let (code, message) = match fault {
            Fault::Transport => (0, "Transport unknown"),
            Fault::Method => (2, "Bad handshake method"),
            Fault::Request => (3, "Bad request"),
            Fault::Version => (5, "Unsupported protocol version"),
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
    fn queries_are_judged_as_the_protocols_own_server_does() {
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
            ("POST", "EIO=4&transport=polling", Err(Fault::Method)),
            ("PUT", "EIO=4&transport=polling", Err(Fault::Method)),
            ("PUT", "EIO=4&transport=polling&sid=a", Err(Fault::Request)),
            (
                "POST",
                "EIO=4&transport=websocket&sid=a",
                Err(Fault::Request),
            ),
            ("GET", "EIO=4", Err(Fault::Transport)),
            ("GET", "EIO=4&transport=abc", Err(Fault::Transport)),
            ("GET", "transport=polling", Err(Fault::Version)),
            ("GET", "EIO=abc&transport=polling", Err(Fault::Version)),
            ("GET", "EIO=3&transport=polling", Err(Fault::Version)),
            ("GET", "EIO=44&transport=polling", Err(Fault::Version)),
        ] {
            let read =
                read(&method.parse().unwrap(), Some(query)).map(|ask| (ask.websocket, ask.opens));
            assert_eq!(read, expected, "{method} {query}");
        }
        assert_eq!(read(&Method::GET, None), Err(Fault::Transport));
    }
}
