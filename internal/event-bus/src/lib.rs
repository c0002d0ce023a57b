//! Event topics: connections, their topics, and the events published there.
//!
//! Only the newest frame of a state topic (`latido_hub::Hub`) matters. The events of an event
//! topic all matter: every member gets every event, once and in order, or is disconnected as too
//! slow. The two share no lock and no data structure, so clients without event topics pay nothing
//! for them.
//!
//! An event bus belongs to one tenant. Names, users, recipients and the order never reach beyond
//! it, so nothing can leak between two apps, and neither waits for the other. A *connection* runs
//! as a Tokio task and has a [`Mailbox`], or it lives on a shard and is reached through the shard's
//! [`EventQueue`]. The app decides which connection may join or publish. A topic such as «all users
//! of a role» is one that the app joins for a connection when it connects or gets an identity.
//!
//! **One lock**, because the order is the point. Presence and messages on any topics reach any
//! connection in the order in which they happened, and a presence list fits between two events
//! without a gap. A lock per topic could not give that to a union of topics. The lock is held for
//! look-ups and pushes, never across a system call: tasks and shards are woken after it is
//! released.
//!
//! The lock order: below the lock of the event bus are the locks of the mailboxes and of the
//! shards' event queues. Each is held for one push or one pop, and no code that holds one of them
//! takes another.

mod connections;
mod delivery_batch;
mod event;
mod event_bus;
mod fan_out;
mod history;
mod identity;
mod join;
mod mailbox;
mod mailbox_queue;
mod policy;
mod presence;
mod presence_announcements;
mod publish;
mod shard_queue;
mod state;
mod summary;
mod user_connections;

pub use delivery_batch::{ClientDelivery, DeliveryBatch, EncodeFn, EventBacklog, SlowConsumer};
pub use event::{BusEvent, EncodingId, EventBody, EventMessage, TopicName};
pub use event_bus::EventBus;
pub use identity::{ConnectionId, Identity};
pub use join::{JoinError, JoinOutcome, JoinRequest, MAX_TOPICS};
pub use mailbox::{Mailbox, MovedConnection};
pub use mailbox_queue::{DisconnectReason, MAX_MAILBOX_EVENTS};
pub use policy::TopicPolicy;
pub use presence::{
    PresenceChange, PresenceCounts, PresenceDiff, PresenceEntry, PresenceMode, PresentUser,
};
pub use publish::{Overloaded, Publish, PublishReceipt};
pub use shard_queue::{
    ConnectionSlot, Delivery, DrainedQueue, EventQueue, MAX_QUEUE_BYTES, MAX_QUEUE_EVENTS,
};
pub use summary::{BusTotals, ConnectionSummary, TopicSummary};

#[cfg(test)]
mod event_bus_tests;
#[cfg(test)]
mod model_tests;
