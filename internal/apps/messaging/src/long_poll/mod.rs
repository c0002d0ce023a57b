//! The transport of clients without WebSocket: Phoenix' long polling.
//!
//! A session has a secret token. Polls wait for its messages, and POSTs bring batches of the
//! client's. The same connection serves it as over a WebSocket: the sessions live in one task,
//! which is to their handlers what a shard is to those of WebSockets.

mod outgoing;
mod poll_session;
mod request;
mod routes;
mod session_table;
mod sessions;
#[cfg(test)]
mod tests;

pub(super) use routes::LongPoll;
