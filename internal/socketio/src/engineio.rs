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
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::Full;
use tokio::time::sleep;

use crate::engineio_service::EngineIoService;
use crate::handshake::{open_session, session_request};
use crate::prelude_stream::{PreludeStream, SessionGuard};
use crate::{DuplexStream, MountedService, RequestKind, classify};
use latido_base::drain::Drain;
use latido_net::query::raw_value;

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
    /// bytes, and pings [`PING_LEAD`](crate::PING_LEAD) earlier than `ping_interval`.
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
        let mut upgrading = self
            .upgrading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if upgrading.len() >= MAX_UPGRADES {
            upgrading.retain(|_, since| since.elapsed() < UPGRADE_WINDOW);
        }
        if upgrading.len() < MAX_UPGRADES {
            upgrading.insert(sid.into(), Instant::now());
        }
    }

    fn is_upgrading(&self, sid: &str) -> bool {
        let upgrading = self
            .upgrading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        upgrading
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
            let prelude = PreludeStream::upgraded(stream, guard);
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
            let prelude = PreludeStream::opened(stream, &handshake, guard);
            let head = session_request(path, &sid, "websocket", Method::GET, ());
            service.take_upgraded(Box::new(prelude), head);
        });
    }
}

impl<S> fmt::Debug for EngineIoMount<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineIoMount")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
