//! The handshake of an Engine.IO session: its requests, and the response that the client gets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};
use http_body_util::Full;

use crate::engineio_service::EngineIoService;

/// The difference between the announced ping interval and the actual one. A service must be created
/// with an interval that is shorter by this.
pub const PING_LEAD: Duration = Duration::from_millis(10);

/// Opens a session with the head of a request, and answers its first ping. Returns the session's id
/// and the handshake response.
///
/// # Errors
///
/// Returns the service's response if it refused the session.
pub(super) async fn open_session<S: EngineIoService>(
    service: &S,
    mut head: Parts,
    interval: Duration,
) -> Result<(Arc<str>, Response<Bytes>), Response<Bytes>> {
    let query = head.uri.query().unwrap_or_default();
    let rest = query
        .split('&')
        .filter(|pair| !pair.starts_with("transport=") && !pair.starts_with("EIO="));
    let target = rest.fold(
        format!("{}?EIO=4&transport=polling", head.uri.path()),
        |target, pair| target + "&" + pair,
    );
    let path = head.uri.path().to_owned();
    if let Ok(target) = PathAndQuery::try_from(target) {
        head.uri = Uri::from(target);
    }
    let response = service
        .send_request(Request::from_parts(head, Full::default()))
        .await;
    let sid: Option<Arc<str>> = parse_sid(response.body()).map(Into::into);
    let Some(sid) = sid else { return Err(response) };
    service
        .send_request(session_request(
            &path,
            &sid,
            "polling",
            Method::GET,
            Full::default(),
        ))
        .await;
    service
        .send_request(session_request(
            &path,
            &sid,
            "polling",
            Method::POST,
            Full::from("3"),
        ))
        .await;
    Ok((sid, announce_interval(response, interval)))
}

/// Replaces the ping interval in a handshake response by the announced one. The content length then
/// changes, so its header is removed.
fn announce_interval(response: Response<Bytes>, interval: Duration) -> Response<Bytes> {
    let announced = format!(r#""pingInterval":{}"#, interval.as_millis());
    let actual = format!(
        r#""pingInterval":{}"#,
        interval.saturating_sub(PING_LEAD).as_millis()
    );
    let (mut head, body) = response.into_parts();
    let body = String::from_utf8_lossy(&body).replace(&actual, &announced);
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, body.into())
}

/// Creates an internal request to a session.
pub(super) fn session_request<B>(
    path: &str,
    sid: &str,
    transport: &str,
    method: Method,
    body: B,
) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    if let Ok(target) =
        PathAndQuery::try_from(format!("{path}?EIO=4&transport={transport}&sid={sid}"))
    {
        *request.uri_mut() = Uri::from(target);
    }
    request
}

/// Returns the session's id in an open packet.
fn parse_sid(packet: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(packet)
        .ok()?
        .strip_prefix(r#"0{"sid":""#)?;
    text.split_once('"').map(|(sid, _)| sid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_is_read_from_the_handshake() {
        assert_eq!(parse_sid(br#"0{"sid":"abc","upgrades":[]}"#), Some("abc"));
        assert_eq!(parse_sid(br#"{"code":1}"#), None);
    }

    #[test]
    fn handshake_announces_the_full_interval() {
        let packet = r#"0{"sid":"a","pingInterval":290,"pingTimeout":290}"#;
        let response = announce_interval(Response::new(packet.into()), Duration::from_millis(300));
        assert_eq!(
            response.body(),
            r#"0{"sid":"a","pingInterval":300,"pingTimeout":290}"#
        );
    }
}
