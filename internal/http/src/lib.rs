//! The HTTP side: listening sockets, warp's routing, and every address the server answers.
//!
//! [`bind`] and [`serve`](fn@serve) own the listening socket, which is lent to the shards, and its
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
mod app_message;
mod app_mounts;
mod assets;
mod authenticate;
mod body;
mod channel_address;
mod channel_feed;
mod command_hints;
mod config;
mod cors;
mod dashboard;
#[cfg(feature = "demo")]
mod demo_routes;
mod error;
mod etag;
#[cfg(any(fuzzing, feature = "testing"))]
mod fuzzing;
mod head_guard;
mod head_scanner;
mod health;
mod history;
mod hook;
mod hook_body;
mod listen;
mod local_only;
mod metrics;
mod mount;
mod mount_handler;
mod peer;
mod prefixed_stream;
mod request;
mod response;
mod rlimit;
mod routes;
mod serve;
mod serve_app;
mod server;
mod settings;
mod snapshot;
mod specification;
mod sse;
mod sse_channels;
mod state;
mod static_files;
mod tls;
mod try_page;
mod websocket;

#[cfg(test)]
mod tests;

pub use app_http::{AppHandler, HttpApp, SessionUse};
pub use app_message::{AppRequest, AppResponse};
pub use app_mounts::{AppMounts, WebSocketApp};
pub use assets::STATIC_FILES;
pub use command_hints::CommandHints;
pub use config::{Config, DRAIN_GRACE, HookPath};
#[cfg(feature = "demo")]
pub use demo_routes::demo_routes;
#[cfg(any(fuzzing, feature = "testing"))]
pub use fuzzing::fuzz_head_scanner;
#[cfg(any(fuzzing, feature = "testing"))]
pub use hook_body::parse_hint;
pub use latido_admission::{ConnectionLimits, PermitSet, TrustedProxies, UpgradeRules, json_error};
pub use latido_shard::HandlerSpec;
pub use listen::{HttpListener, ListenSockets, bind};
pub use mount::{MountedService, PeerAddress, RequestKind};
pub use response::{BoxedRoutes, Response};
pub use rlimit::raise_open_file_limit;
pub use serve::{serve, serve_mount};
pub use settings::{ListenConfig, VARIABLES, read_notify_key, read_port};
pub use state::ServerState;
pub use static_files::StaticFile;
pub use tls::{ServerTlsError, Tls, TlsFiles};
pub use try_page::{RefusedKey, TriedQuery, serve_try_page};
