//! Shards: the threads that own the WebSocket connections.
//!
//! A shard is a thread and the only owner of its sockets. It has one poll and one inbox with a
//! waker; it uses no lock, no task and no timer per client. A shard accepts connections itself or
//! receives them from HTTP after the upgrade. Once a connection is a WebSocket, incoming bytes
//! become effects ([`latido_session`]), and frames from the hub are written inline, by iterating
//! over an array of room members. A client whose socket is full costs one reference to a frame.
//! When its socket drains, it gets the newest frame.
//!
//! # Invariants
//!
//! - A client receives the frames of a room in version order, each at most once, except for an
//!   explicit repeat.
//! - A client that is removed gives up its membership in every room in the same step.
//! - One turn sends a bounded number of frames of one room.
//!
//! # App connections
//!
//! An app connection speaks an app's protocol through a [`ProtocolHandler`]. Its additional state
//! lives in a box, so that native clients do not pay for it. Its events arrive through one queue
//! per event bus. The shard works them off in bounded turns, alternating with the broadcasts of the
//! rooms.

mod accept_backoff;
mod accepting;
mod admin;
mod admin_request;
mod async_requests;
mod async_response;
mod broadcast;
mod broadcast_queue;
#[cfg(test)]
mod burst_tests;
mod client;
mod client_write;
mod clients;
mod close_queue;
mod closing;
mod command;
mod connection_table;
mod deps;
mod drain_schedule;
mod event_delivery;
mod event_loop;
mod handler_state;
mod handlers;
mod histories;
mod inbox;
mod listener;
mod listener_context;
mod listener_registration;
mod mount_upgrade;
mod outbox;
mod pending_slot;
mod pending_upgrade;
mod protocol_handler;
mod reading;
mod replacement;
mod replacement_walk;
mod rooms;
mod settings;
mod shards;
mod shared_listener;
mod shutdown;
#[cfg(any(test, feature = "simulation"))]
mod simulated;
#[cfg(test)]
mod test_shard;
mod timer_wheel;
mod timers;
mod upgraded_connection;
mod wake_timers;
mod worker;

pub use accept_backoff::{AcceptBackoff, is_peer_error};
pub use admin_request::{ClientId, ClientList, ClientSummary, InvalidClientId, SweepResult};
pub use async_requests::RequestHandler;
pub use deps::{Config, ShardDeps};
pub use listener::ShardListener;
pub use listener_context::{ConnectionHandler, ListenerContext};
pub use mount_upgrade::{MountUpgrade, MountedSocket};
pub use protocol_handler::{
    Action, Actions, AsyncResult, ClientMessage, HandlerContext, HandlerFactory, HandlerSpec,
    InBandUpgrade, ProtocolHandler, Timestamp,
};
pub use settings::VARIABLES;
pub use shards::Shards;
#[cfg(any(test, feature = "simulation"))]
pub use simulated::{PendingRequest, RequestContent, SimulatedShard};
pub use upgraded_connection::{ConnectionKind, UpgradedConnection};
