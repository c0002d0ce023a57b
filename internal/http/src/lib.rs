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

mod accept;
mod assets;
mod body;
mod bucket;
mod call;
mod config;
mod connection;
mod cors;
mod dashboard;
mod demo;
mod doors;
mod events;
mod farewell;
mod gate;
mod health;
mod hint;
mod hook;
mod identity;
mod knock;
mod metrics;
mod origin;
mod page;
mod proxies;
mod refusal;
mod routes;
mod seats;
mod site;
mod snapshot;
mod sockets;
mod specification;
mod tls;
mod websocket;
mod wing;

#[cfg(test)]
mod tests;

pub use accept::{HttpListener, bind, serve_mount, serve};
pub use assets::STATIC_FILES;
pub use config::{Config, HookPath};
pub use demo::demo_routes;
pub use doors::ServerState;
pub use gate::{RequestKind, DuplexStream, MountedService, PeerAddress};
pub use origin::{InvalidOrigin, Origins};
pub use page::StaticFile;
pub use proxies::{InvalidTrustedProxies, TrustedProxies};
pub use refusal::json_error;
/// Parses a hook's body into its key, for the fuzz targets.
#[cfg(any(test, fuzzing, feature = "testing"))]
pub fn parse_hint(
    body: &[u8],
    stream: &latido_stream::Stream,
    key_type: latido_stream::KeyType,
) -> Result<latido_base::ident::Key, String> {
    hint::parse(body, stream, key_type).map_err(|error| error.to_string())
}
pub use seats::ConnectionLimits;
pub use site::{AppHandler, AppMounts, AppResponse, AppRequest, HandlerSpec, WebSocketApp, HttpApp};
pub use sockets::ListenSockets;
pub use specification::ColumnSource;
pub use tls::{Tls, ServerTlsError, TlsFiles};

/// An HTTP response, ready to be sent.
pub type Response = warp::reply::Response;

/// Additional routes, tried after the server's own and before those of the streams.
///
/// A request that they reject falls through to `404`, even if only its method was wrong, so they
/// should answer every method of their paths.
pub type BoxedRoutes = warp::filters::BoxedFilter<(Response,)>;
