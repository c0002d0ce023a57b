//! Engine.IO and Socket.IO over polling and WebSocket, for the clients of older systems.
//!
//! [`latido_socketio_protocol`] has the packets, and the folder `engine` has the session of
//! Engine.IO as a state machine. Both are pure. A session (module `session`) adds the sockets in
//! the namespaces of its apps. It lives with its WebSocket on a shard, or in the task of its polls
//! until the client upgrades; then it moves, with everything that waits for the client.
//!
//! An app implements [`SocketIoApp`]: its namespaces, its events, and for each socket a
//! [`SocketHandler`], which neither blocks nor waits, wherever its session lives. Events of the
//! app's bus are encoded once per namespace and shared by all WebSockets.
//!
//! [`http`](latido_http) accepts the connections, checks origins and limits, and passes requests
//! to the [`SocketIoMount`].

mod app;
mod args;
mod client_event;
mod client_files;
mod config;
mod connect_auth;
mod emit;
mod engine;
mod error_response;
mod host;
mod message_service;
mod mount;
mod mount_shared;
mod namespaces;
mod polling_host;
mod polling_table;
mod polling_task;
mod probe;
mod query;
mod request_info;
mod session;
mod session_id;
mod session_sockets;
mod shard_connection;
mod shard_host;
#[cfg(test)]
mod size_tests;
mod socket;
mod socket_actions;
mod socket_core;
mod unidentified;

pub use app::{ConnectRequest, SocketHandler, SocketIoApp};
pub use args::Args;
pub use client_event::{Ack, ClientEvent};
pub use client_files::{CLIENT_FILES, ClientFile};
pub use config::Config;
pub use emit::Emit;
pub use latido_http::{MountedService, PeerAddress, RequestKind};
pub use message_service::{MessageService, Replies};
pub use mount::SocketIoMount;
pub use request_info::RequestInfo;
pub use socket_actions::SocketActions;
