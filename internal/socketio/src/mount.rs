//! The service of a listener at `/socket.io/`, for all its apps.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Request, Response};
use tracing::debug;

use crate::app::SocketIoApp;
use crate::config::Config;
use crate::error_response::{EngineIoError, poll_response, post_response, too_many_sessions};
use crate::message_service::MessageService;
use crate::mount_shared::{MountService, MountShared};
use crate::namespaces::Namespaces;
use crate::polling_table::{PollingHandle, PollingTable};
use crate::polling_task::PollingTask;
use crate::probe::Probe;
use crate::query::{classify, session_id, supports_binary, version};
use crate::request_info::RequestInfo;
use crate::session::NewSession;
use crate::session_id::SessionId;
use crate::shard_connection::ShardConnection;
use latido_admission::PermitSet;
use latido_base::drain::Drain;
use latido_http::{HandlerSpec, MountedService, PeerAddress, RequestKind};

/// The path that all Socket.IO clients use.
const PATH: &str = "/socket.io";
/// The name of Socket.IO connections in logs and metrics.
const NAME: &str = "socketio";

/// The service of a listener; see the crate's documentation.
pub struct SocketIoMount {
    shared: Arc<MountShared>,
    polling: Arc<PollingTable>,
}

impl SocketIoMount {
    /// Creates the service of these apps at `/socket.io/`. When the server stops, it ends the
    /// polling sessions; the shards end those with a WebSocket.
    pub fn start(config: &Config, apps: &[Arc<dyn SocketIoApp>], drain: &Drain) -> Arc<Self> {
        let longer = apps.iter().filter_map(|app| app.ping_timeout());
        let config = Config {
            ping_timeout: longer.fold(config.ping_timeout, Duration::max),
            ..config.clone()
        };
        let service = MountService::SocketIo(Namespaces::new(apps));
        Arc::new(Self::new(MountShared::new(PATH, config, service, drain)))
    }

    /// Creates a service of messages, without Socket.IO, at `path` and below it.
    pub fn messages(
        path: &'static str,
        config: &Config,
        service: Arc<dyn MessageService>,
        drain: &Drain,
    ) -> Arc<Self> {
        let service = MountService::Messages(service);
        let config = config.clone();
        Arc::new(Self::new(MountShared::new(path, config, service, drain)))
    }

    fn new(shared: MountShared) -> Self {
        Self {
            shared: Arc::new(shared),
            polling: Arc::default(),
        }
    }

    /// Collects what a new session is made of.
    fn new_session(&self, head: &Parts) -> Result<NewSession, Box<Response<Bytes>>> {
        let mount = &self.shared;
        let address = head.extensions.get().map(|PeerAddress(peer)| peer.ip());
        let unidentified = match &mount.service {
            MountService::Messages(_) => None,
            MountService::SocketIo(_) => {
                let admitted = mount.unidentified.admit(address);
                Some(admitted.map_err(|error| {
                    debug!(%error, "a Socket.IO session was refused");
                    Box::new(too_many_sessions())
                })?)
            }
        };
        let sid = SessionId::random().ok_or_else(|| EngineIoError::Request.refusal())?;
        Ok(NewSession {
            mount: Arc::clone(mount),
            sid,
            version: version(head),
            supports_binary: supports_binary(head),
            request: RequestInfo::new(head, &mount.kept_headers()),
            unidentified,
            permit: head.extensions.get::<Arc<PermitSet>>().cloned(),
        })
    }

    /// Opens a session by polling. The response has its first packet.
    fn open_polling(&self, head: &Parts) -> Result<PollingHandle, Box<Response<Bytes>>> {
        let new = self.new_session(head)?;
        let sid = new.sid;
        let task = PollingTask::open(new, &self.polling);
        self.shared.drain.spawn(task.run());
        let opened = self.polling.find(sid.as_str());
        opened.ok_or_else(|| EngineIoError::UnknownSession.refusal())
    }
}

impl MountedService for SocketIoMount {
    fn matches(&self, path: &str) -> bool {
        path.strip_prefix(self.shared.path)
            .is_some_and(|rest| rest.is_empty() || rest == "/")
    }

    fn body_limit(&self, head: &Parts) -> usize {
        let config = &self.shared.config;
        let session = session_id(head).and_then(|sid| self.polling.find(sid));
        match session {
            Some(session) if session.is_identified() => config.max_payload_bytes,
            _ => config
                .max_payload_bytes
                .min(config.unidentified_session_bytes),
        }
    }

    fn classify(&self, head: &Parts) -> Result<RequestKind, Box<Response<Bytes>>> {
        classify(head, self.shared.allows_engineio_3())
    }

    fn handle(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let (head, body) = request.into_parts();
        let session = match session_id(&head) {
            Some(sid) => self
                .polling
                .find(sid)
                .ok_or_else(|| EngineIoError::UnknownSession.refusal()),
            None => self.open_polling(&head),
        };
        let session = match session {
            Ok(session) => session,
            Err(refused) => return Box::pin(std::future::ready(*refused)),
        };
        if head.method == Method::GET {
            return Box::pin(async move {
                let polled = session.poll().await;
                polled.map_or_else(|| EngineIoError::Request.response(), poll_response)
            });
        }
        let is_binary = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value == "application/octet-stream");
        Box::pin(async move {
            if session.post(body, is_binary).await {
                post_response()
            } else {
                EngineIoError::Request.response()
            }
        })
    }

    fn upgrade(&self, head: Parts) -> Result<HandlerSpec, Box<Response<Bytes>>> {
        let mount = Arc::clone(&self.shared);
        let limits = mount.limits;
        let Some(sid) = session_id(&head) else {
            let new = self.new_session(&head)?;
            let spec = HandlerSpec::new(NAME, move |context| {
                Box::new(ShardConnection::open(new, context))
            });
            return Ok(spec.limits(limits));
        };
        let found = self.polling.find(sid);
        let Some((session, alive)) =
            found.and_then(|session| Some((session.clone(), session.start_probe()?)))
        else {
            let spec = HandlerSpec::new(NAME, move |context| {
                Box::new(ShardConnection::refused(mount, context))
            });
            return Ok(spec.limits(limits));
        };
        let version = session.version();
        let spec = HandlerSpec::new(NAME, move |context| {
            let probe = Probe::new(&mount, session, version, alive);
            Box::new(ShardConnection::probe(mount, probe, context))
        });
        Ok(spec.limits(limits))
    }
}

impl fmt::Debug for SocketIoMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIoMount")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}
