//! An event from a client.

use crate::args::Args;

/// An event from a client.
#[derive(Debug)]
pub struct ClientEvent {
    /// The name of the event.
    pub name: String,
    /// The arguments of the event.
    pub args: Args,
    /// The acknowledgement to send once, if the client requested it.
    pub ack: Option<Ack>,
}

/// The acknowledgement that a client requested for its event; see
/// [`SocketActions::acknowledge`](crate::SocketActions::acknowledge).
#[derive(Debug, PartialEq, Eq)]
pub struct Ack {
    pub(crate) id: u64,
}
