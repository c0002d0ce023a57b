//! The HTTP side: listening sockets, warp's routing, and every address the server answers.
//!
//! [`bind`] and [`serve`] own the listening socket, which is lent to the shards, and its
//! connections. `routes` holds the whole URL space on one screen, and there is one file per
//! address. This module only checks a WebSocket's origin and token. After the upgrade the raw
//! socket goes to a shard, and nothing of HTTP stays behind. Most WebSocket requests never reach
//! hyper: `fast_upgrade` checks them on the shard's thread, which accepts connections and reads
//! their first bytes. No other module names warp.
//!
//! Two rules hold everywhere. A token never leaves the request it came with: no type that holds a
//! token can be printed, and warp's typed query filter is not used, because it logs queries that it
//! can't read. And every wait has a deadline.

mod app_http;
mod assets;
mod authenticate;
mod body;
mod config;
mod connection_limits;
mod cors;
mod dashboard;
mod demo_routes;
mod error;
mod fast_upgrade;
mod health;
mod hook;
mod hook_body;
mod listen;
mod listen_sockets;
mod metrics;
mod mount;
mod mount_handler;
mod overload_response;
mod request;
mod rlimit;
mod routes;
mod server;
mod settings;
mod snapshot;
mod specification;
mod sse;
mod state;
mod static_files;
mod tls;
mod trusted_proxies;
mod websocket;

#[cfg(test)]
mod tests;

pub use assets::STATIC_FILES;
pub use config::{Config, DRAIN_GRACE, HookPath};
pub use demo_routes::demo_routes;
pub use error::json_error;
pub use listen::{HttpListener, bind, serve, serve_mount};
pub use mount::{DuplexStream, MountedService, PeerAddress, RequestKind};
pub use rlimit::raise_open_file_limit;
pub use settings::{ListenConfig, VARIABLES, read_notify_key};
pub use state::ServerState;
pub use static_files::StaticFile;
pub use trusted_proxies::TrustedProxies;
/// Parses a hook's body into its key, for the fuzz targets.
#[cfg(any(test, fuzzing, feature = "testing"))]
pub fn parse_hint(
    body: &[u8],
    stream: &latido_stream::Stream,
    key_type: latido_stream::KeyType,
) -> Result<latido_base::ident::Key, impl std::error::Error + use<>> {
    hook_body::parse(body, stream, key_type)
}
pub use app_http::{
    AppHandler, AppMounts, AppRequest, AppResponse, HandlerSpec, HttpApp, WebSocketApp,
};
pub use connection_limits::ConnectionLimits;
pub use listen_sockets::ListenSockets;
pub use specification::ColumnSource;
pub use tls::{ServerTlsError, Tls, TlsFiles};

/// An HTTP response, ready to be sent.
pub type Response = warp::reply::Response;

/// Additional routes, tried after the server's own and before those of the streams.
///
/// A request that they reject falls through to `404`, even if only its method was wrong, so they
/// should answer every method of their paths.
pub type BoxedRoutes = warp::filters::BoxedFilter<(Response,)>;
