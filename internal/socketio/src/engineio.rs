//! An Engine.IO service that is mounted in HTTP. It corrects four deviations of the crate from the
//! protocol:
//!
//! - The crate pings a client as soon as the session is open; the protocol does so after
//!   `pingInterval`. Therefore this module opens the session for the client and answers its first
//!   ping, before the client learns of it.
//! - A session that starts as a WebSocket is opened in the same way, and upgraded from polling to
//!   the WebSocket before the client learns of it. This leaves one way to open sessions, and one
//!   place that counts them.
//! - An interrupted upgrade to a WebSocket leaves the session open forever, without pings.
//!   Therefore the end of any socket closes its session.
//! - The crate writes the protocol's error numbers as text.
//!
//! Two sockets of one client are not ordered. A poll during an upgrade therefore waits briefly, so
//! that earlier messages on the other socket are seen first. A client counts the ping interval from
//! the handshake response, so the interval of the crate starts slightly earlier.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use tokio::time::sleep;

use crate::engineio_service::{EngineIoService, session_request};
use crate::prelude_stream::{PreludeStream, SessionGuard};
use crate::query::classify;
use latido_base::drain::Drain;
use latido_http::{DuplexStream, MountedService, RequestKind};
use latido_net::query::raw_value;
use latido_protocol::Frame;

/// The masked frames (with a zero mask) that a client sends to upgrade from polling to a WebSocket,
/// and the server's answer to the first.
const PROBE: &[u8] = b"\x81\x86\0\0\0\x002probe\x81\x81\0\0\0\x005";
const PROBE_RESPONSE: &[u8] = b"\x81\x063probe";

/// The difference between the announced ping interval and the actual one; see
/// [`EngineIoMount::new`].
pub const PING_LEAD: Duration = Duration::from_millis(10);
/// The wait of a poll during an upgrade, and the time for which an upgrade counts as in progress.
const UPGRADE_POLL_WAIT: Duration = Duration::from_millis(10);
const UPGRADE_WINDOW: Duration = Duration::from_secs(1);
/// The upgrades remembered at once. Polls do not wait for further ones.
const MAX_UPGRADES: usize = 1024;

/// A mounted Engine.IO service; see the module's documentation.
pub struct EngineIoMount<S> {
    service: S,
    path: &'static str,
    body_limit: usize,
    /// The interval that clients see in the handshake.
    ping_interval: Duration,
    /// The sessions with a recent upgrade request. The lock is held for one lookup.
    upgrading: Mutex<HashMap<Box<str>, Instant>>,
    drain: Drain,
}

impl<S: EngineIoService> EngineIoMount<S> {
    /// Creates a mount. `service` answers below `path`, accepts packets of up to `body_limit`
    /// bytes, and pings [`PING_LEAD`] earlier than `ping_interval`.
    pub fn new(
        service: S,
        path: &'static str,
        body_limit: usize,
        ping_interval: Duration,
        drain: &Drain,
    ) -> Self {
        Self {
            service,
            path,
            body_limit,
            ping_interval,
            upgrading: Mutex::default(),
            drain: drain.clone(),
        }
    }

    fn record_upgrade(&self, sid: &str) {
        let mut changing = self
            .upgrading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if changing.len() >= MAX_UPGRADES {
            changing.retain(|_, since| since.elapsed() < UPGRADE_WINDOW);
        }
        if changing.len() < MAX_UPGRADES {
            changing.insert(sid.into(), Instant::now());
        }
    }

    fn is_upgrading(&self, sid: &str) -> bool {
        let changing = self
            .upgrading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        changing
            .get(sid)
            .is_some_and(|since| since.elapsed() < UPGRADE_WINDOW)
    }
}

impl<S: EngineIoService> MountedService for EngineIoMount<S> {
    fn matches(&self, path: &str) -> bool {
        path.strip_prefix(self.path)
            .is_some_and(|rest| rest.is_empty() || rest == "/")
    }

    fn body_limit(&self) -> usize {
        self.body_limit
    }

    fn classify(&self, head: &Parts) -> Result<RequestKind, Box<Response<Bytes>>> {
        let kind = classify(head)?;
        if let Some(sid) =
            raw_value(head.uri.query().unwrap_or_default(), "sid").filter(|_| kind.is_websocket)
        {
            self.record_upgrade(sid);
        }
        Ok(kind)
    }

    fn handle(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let (head, body) = request.into_parts();
        if classify(&head).is_ok_and(|kind| kind.opens_session) {
            let (service, interval) = (self.service.clone(), self.ping_interval);
            let handshake = async move { open_session(&service, head, interval).await };
            return Box::pin(async {
                handshake
                    .await
                    .map_or_else(|rejected| rejected, |(_, response)| response)
            });
        }
        let is_upgrading = head.method == Method::GET
            && raw_value(head.uri.query().unwrap_or_default(), "sid")
                .is_some_and(|sid| self.is_upgrading(sid));
        let service = self.service.clone();
        Box::pin(async move {
            if is_upgrading {
                sleep(UPGRADE_POLL_WAIT).await;
            }
            service
                .send_request(Request::from_parts(head, Full::new(body)))
                .await
        })
    }

    fn take_upgraded(&self, stream: Box<dyn DuplexStream>, head: Request<()>) {
        let (service, drain) = (self.service.clone(), self.drain.clone());
        let (parts, ()) = head.into_parts();
        if let Some(sid) = raw_value(parts.uri.query().unwrap_or_default(), "sid") {
            let guard = SessionGuard {
                service: service.clone(),
                path: self.path,
                sid: sid.into(),
                drain,
            };
            let prelude = PreludeStream {
                stream,
                replayed: Bytes::new(),
                to_skip: 0,
                handshake: Bytes::new(),
                _guard: guard,
            };
            return service.take_upgraded(Box::new(prelude), Request::from_parts(parts, ()));
        }
        let (path, interval) = (self.path, self.ping_interval);
        self.drain.spawn(async move {
            let Ok((sid, response)) = open_session(&service, parts.clone(), interval).await else {
                return;
            };
            let handshake = String::from_utf8_lossy(response.body())
                .replace(r#""upgrades":["websocket"]"#, r#""upgrades":[]"#);
            let guard = SessionGuard {
                service: service.clone(),
                path,
                sid: Arc::clone(&sid),
                drain,
            };
            let prelude = PreludeStream {
                stream,
                replayed: Bytes::from_static(PROBE),
                to_skip: PROBE_RESPONSE.len(),
                handshake: Bytes::copy_from_slice(Frame::text(&handshake).as_bytes()),
                _guard: guard,
            };
            let head = session_request(path, &sid, "websocket", Method::GET, ());
            service.take_upgraded(Box::new(prelude), head);
        });
    }
}

/// Opens a session with the head of a request, and answers its first ping. Returns the session's id
/// and the handshake response.
///
/// # Errors
///
/// Returns the service's response if it refused the session.
async fn open_session<S: EngineIoService>(
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

/// Returns the session's id in an open packet.
fn parse_sid(packet: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(packet)
        .ok()?
        .strip_prefix(r#"0{"sid":""#)?;
    text.split_once('"').map(|(sid, _)| sid)
}

impl<S> fmt::Debug for EngineIoMount<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineIoMount")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
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

    #[test]
    fn probe_has_two_frames() {
        assert_eq!(PROBE_RESPONSE, Frame::text("3probe").as_bytes());
        assert_eq!(PROBE.len(), 6 + "2probe".len() + 6 + "5".len());
    }
}
