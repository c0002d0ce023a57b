//! The Socket.IO service of a listener, at `/socket.io/`, for all its apps.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIo};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::app::SocketIoApp;
use crate::config::Config;
use crate::engineio::{EngineIoMount, PING_LEAD};
use crate::inbox::{Enqueue, SocketInbox};
use crate::session_meter::SessionTable;
use crate::socket_handle::SocketHandle;
use crate::socket_task::{NamespaceContext, serve_socket};
use latido_base::drain::Drain;

/// The path that all Socket.IO clients use.
const PATH: &str = "/socket.io";
/// The maximum number of attachments per event.
const MAX_ATTACHMENTS: usize = 64;
/// The time that slow clients may delay the end of the others during the shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The Socket.IO service of a listener; see the module's documentation.
pub type SocketIoMount = EngineIoMount<SocketIoService<NotFoundService>>;

impl SocketIoMount {
    /// Creates the service for these apps. When the server stops, the service disconnects every
    /// socket, so that the clients can reconnect to another server.
    pub fn start(config: &Config, apps: &[Arc<dyn SocketIoApp>], drain: &Drain) -> Arc<Self> {
        let limit = config.max_payload_bytes;
        let parser = ParserConfig::common()
            .max_incoming_binary_buf_size(limit)
            .max_incoming_binaries(MAX_ATTACHMENTS)
            .packet_completion_timeout(config.connect_timeout);
        let longer = apps.iter().filter_map(|app| app.ping_timeout());
        let (service, io) = SocketIo::builder()
            .req_path(PATH)
            .ping_interval(config.ping_interval.saturating_sub(PING_LEAD))
            .ping_timeout(longer.fold(config.ping_timeout, Duration::max))
            .connect_timeout(config.connect_timeout)
            .upgrade_timeout(config.upgrade_timeout)
            .max_buffer_size(config.buffered_packets)
            .max_payload(limit as u64)
            .ws_max_message_size(limit)
            .ws_max_frame_size(limit)
            .with_parser(parser)
            .build_with_inner_svc(NotFoundService);
        let closed = CancellationToken::new();
        let mut namespaces: Vec<_> = apps
            .iter()
            .flat_map(|app| app.namespaces())
            .copied()
            .collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in namespaces {
            let serves = |app: &&Arc<dyn SocketIoApp>| app.namespaces().contains(&namespace);
            let apps = apps.iter().filter(serves).cloned().collect();
            open_namespace(
                &io,
                namespace,
                Arc::new(NamespaceContext {
                    config: config.clone(),
                    apps,
                    closed: closed.clone(),
                }),
                drain,
            );
        }
        let stopping = drain.clone();
        drain.spawn(async move {
            stopping.stopping().await;
            // This notifies the clients but not the socket tasks, which the token below ends.
            let _ = timeout(CLOSE_TIMEOUT, io.close()).await;
            closed.cancel();
        });
        let mount = Self::new(service, PATH, limit, config.ping_interval, drain);
        Arc::new(mount.with_sessions(SessionTable::new(config)))
    }
}

/// Opens a namespace. The inbox of a socket is ready before the client learns that it is connected;
/// its task starts right after.
fn open_namespace(
    io: &SocketIo,
    namespace: &'static str,
    context: Arc<NamespaceContext>,
    drain: &Drain,
) {
    let (config, closed, stopping) = (
        context.config.clone(),
        context.closed.clone(),
        drain.clone(),
    );
    let prepare = move |socket: SocketRef| {
        let inbox = SocketInbox::new(&config, &closed);
        let ended = inbox.clone();
        socket.extensions.insert(inbox);
        socket.on_fallback(async |enqueue: Enqueue| enqueue.unreachable());
        socket.on_disconnect(move || {
            ended.mark_disconnected();
            ready(())
        });
        ready(if stopping.is_stopping() {
            Err("the server is stopping; come back")
        } else {
            Ok(())
        })
    };
    let drain = drain.clone();
    let start_task = move |socket: SocketRef, TryData(auth): TryData<Value>| {
        if let Some(messages) = socket
            .extensions
            .get::<SocketInbox>()
            .and_then(|inbox| inbox.take_receiver())
        {
            drain.spawn(serve_socket(
                Arc::clone(&context),
                SocketHandle::new(socket),
                auth.unwrap_or_default(),
                messages,
            ));
        }
        ready(())
    };
    io.ns(namespace, start_task.with(prepare));
}

/// The service for requests that are not the crate's; none reaches it.
#[derive(Debug, Clone, Copy)]
pub struct NotFoundService;

impl Service<Request<Full<Bytes>>> for NotFoundService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok(response))
    }
}
