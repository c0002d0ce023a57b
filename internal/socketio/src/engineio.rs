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
use tracing::debug;

use crate::engineio_service::{EngineIoService, session_request};
use crate::polling::{packet_count, session_closed, too_many_sessions};
use crate::prelude_stream::{PreludeStream, SessionGuard};
use crate::query::classify;
use crate::session_meter::{SessionMeter, SessionTable};
use latido_base::drain::Drain;
use latido_http::{DuplexStream, MountedService, PeerAddress, RequestKind};
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
    /// The meters of the sessions. `None` if sessions have no limits.
    sessions: Option<Arc<SessionTable>>,
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
            sessions: None,
            drain: drain.clone(),
        }
    }

    /// Limits the sessions, and ends those whose clients do not identify themselves in time.
    #[must_use]
    pub(super) fn with_sessions(mut self, sessions: Arc<SessionTable>) -> Self {
        let (table, service, path) = (Arc::clone(&sessions), self.service.clone(), self.path);
        self.drain.spawn_until_stop(async move {
            loop {
                sleep(table.check_interval()).await;
                for (sid, meter) in table.overdue() {
                    debug!("a Socket.IO client did not identify itself in time");
                    close_session(&service, path, &sid, &meter).await;
                }
            }
        });
        self.sessions = Some(sessions);
        self
    }

    /// Returns the meter of the session that a request names.
    fn meter_of(&self, head: &Parts) -> Option<Arc<SessionMeter>> {
        self.sessions.as_ref()?.find(session_id(head)?)
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

    fn body_limit(&self, head: &Parts) -> usize {
        self.sessions.as_ref().map_or(self.body_limit, |sessions| {
            sessions.body_limit(session_id(head), self.body_limit)
        })
    }

    fn admit(&self, head: &mut Parts) -> Result<(), Box<Response<Bytes>>> {
        let Some(sessions) = &self.sessions else {
            return Ok(());
        };
        let address = head.extensions.get().map(|PeerAddress(peer)| peer.ip());
        match sessions.admit(address) {
            Ok(meter) => {
                head.extensions.insert(meter);
                Ok(())
            }
            Err(error) => {
                debug!(%error, "a Socket.IO session was refused");
                Err(Box::new(too_many_sessions()))
            }
        }
    }

    fn classify(&self, head: &Parts) -> Result<RequestKind, Box<Response<Bytes>>> {
        let kind = classify(head)?;
        if let Some(sid) = session_id(head).filter(|_| kind.is_websocket) {
            self.record_upgrade(sid);
        }
        Ok(kind)
    }

    fn handle(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let (head, body) = request.into_parts();
        if classify(&head).is_ok_and(|kind| kind.opens_session) {
            let (service, interval) = (self.service.clone(), self.ping_interval);
            let sessions = self.sessions.clone();
            let handshake =
                async move { open_session(&service, head, interval, sessions.as_deref()).await };
            return Box::pin(async {
                handshake
                    .await
                    .map_or_else(|rejected| rejected, |(_, response)| response)
            });
        }
        let is_upgrading = head.method == Method::GET
            && session_id(&head).is_some_and(|sid| self.is_upgrading(sid));
        let service = self.service.clone();
        if head.method == Method::POST
            && let Some(meter) = self.meter_of(&head)
            && let Err(error) = meter.count(packet_count(&body), body.len())
        {
            debug!(%error, "a Socket.IO client exceeded a limit");
            let (path, sid) = (self.path, Box::from(session_id(&head).unwrap_or_default()));
            return Box::pin(async move {
                close_session(&service, path, &sid, &meter).await;
                session_closed()
            });
        }
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
        let (service, drain, sessions) = (
            self.service.clone(),
            self.drain.clone(),
            self.sessions.clone(),
        );
        let (parts, ()) = head.into_parts();
        if let Some(sid) = session_id(&parts) {
            let guard = SessionGuard {
                service: service.clone(),
                path: self.path,
                sid: sid.into(),
                drain,
            };
            let prelude = PreludeStream::new(stream, guard, self.meter_of(&parts));
            return service.take_upgraded(Box::new(prelude), Request::from_parts(parts, ()));
        }
        let (path, interval) = (self.path, self.ping_interval);
        self.drain.spawn(async move {
            let meter = parts.extensions.get::<Arc<SessionMeter>>().cloned();
            let opened = open_session(&service, parts, interval, sessions.as_deref()).await;
            let Ok((sid, response)) = opened else {
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
            let prelude = PreludeStream::new(stream, guard, meter).with_beginning(
                Bytes::from_static(PROBE),
                PROBE_RESPONSE.len(),
                Bytes::copy_from_slice(Frame::text(&handshake).as_bytes()),
            );
            let head = session_request(path, &sid, "websocket", Method::GET, ());
            service.take_upgraded(Box::new(prelude), head);
        });
    }
}

/// Returns the id of the session that a request names.
fn session_id(head: &Parts) -> Option<&str> {
    raw_value(head.uri.query().unwrap_or_default(), "sid")
}

/// Closes a session, whatever its transport is.
async fn close_session<S: EngineIoService>(
    service: &S,
    path: &str,
    sid: &str,
    meter: &SessionMeter,
) {
    meter.closing().cancel();
    let close = session_request(path, sid, "polling", Method::POST, Full::from("1"));
    service.send_request(close).await;
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
    sessions: Option<&SessionTable>,
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
    let meter = head.extensions.get::<Arc<SessionMeter>>().cloned();
    let response = service
        .send_request(Request::from_parts(head, Full::default()))
        .await;
    let sid: Option<Arc<str>> = parse_sid(response.body()).map(Into::into);
    let Some(sid) = sid else { return Err(response) };
    if let (Some(sessions), Some(meter)) = (sessions, &meter) {
        sessions.register(&sid, meter);
    }
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
