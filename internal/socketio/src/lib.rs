//! Socket.IO v4 over polling and WebSocket, for the clients of older systems.
//!
//! The crate `socketioxide`, which only this module uses, implements the transports: sessions,
//! polling, upgrade, heartbeat and packets. The rest is here. [`http`](latido_http) accepts the
//! connections, checks origins and limits, and passes requests and upgraded sockets to a
//! [`MountedService`]; [`SocketIoMount`] is the one for Socket.IO. An app implements
//! [`SocketIoApp`]: its namespaces, its events, and for each socket a [`SocketHandler`] and a
//! mailbox of its event bus.
//!
//! One task serves a socket, and `Drain` counts it. The task handles the client's messages in the
//! order of arrival (the crate would start a task for each, in any order), and meanwhile keeps
//! delivering events from the bus. It ends when the client is gone, even during a handler's
//! `.await`. The messages that a client may leave unhandled are limited in number and in bytes.

mod app;
mod args;
mod client_files;
mod config;
mod emit;
mod engineio;
mod engineio_service;
mod inbox;
mod polling;
mod prelude_stream;
mod query;
mod sender;
mod session_meter;
mod socket_handle;
mod socket_task;
mod socketio_mount;

pub use app::{ClientEvent, SocketHandler, SocketIoApp};
pub use args::Args;
pub use client_files::{CLIENT_FILES, ClientFile};
pub use config::Config;
pub use emit::Emit;
pub use engineio::{EngineIoMount, PING_LEAD};
pub use engineio_service::EngineIoService;
pub use latido_http::{DuplexStream, MountedService, PeerAddress, RequestKind};
pub use socket_handle::{Ack, SocketHandle};
pub use socketio_mount::SocketIoMount;
