//! The packets that a client sends.

use std::borrow::Cow;

use super::arguments::Arguments;

/// A packet to or from one namespace. Texts borrow from the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPacket<'a> {
    /// The namespace, such as `/` or `/ws`. In a connect packet of Engine.IO 3 it may have a query;
    /// see [`split_namespace`].
    pub namespace: &'a str,
    /// The content, by the packet's type.
    pub content: PacketContent<'a>,
}

/// The content of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketContent<'a> {
    /// The client connects to the namespace, or the server confirms it.
    Connect {
        /// The JSON object with the credentials, or with the socket's id.
        payload: Option<&'a str>,
    },
    /// The client or the server leaves the namespace.
    Disconnect,
    /// An event with arguments.
    Event(Event<'a>),
    /// The acknowledgement of an event.
    Ack {
        /// The id that the event had. Without one, the packet has no meaning.
        id: Option<u64>,
        /// The arguments of the acknowledgement.
        args: Arguments<'a>,
        /// The number of messages with bytes that follow.
        attachments: usize,
    },
    /// The server refuses the connection to the namespace.
    ConnectError {
        /// The reason: a JSON object or, in Engine.IO 3, a JSON string.
        payload: Option<&'a str>,
    },
}

/// An event with arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The id to acknowledge the event with, if the sender expects it.
    pub id: Option<u64>,
    /// The name. A name that is a number is its JSON text.
    pub name: Cow<'a, str>,
    /// The arguments after the name.
    pub args: Arguments<'a>,
    /// The number of messages with bytes that follow.
    pub attachments: usize,
}

impl PacketContent<'_> {
    /// Returns the number of messages with bytes that follow the packet.
    pub fn attachments(&self) -> usize {
        match self {
            Self::Event(event) => event.attachments,
            Self::Ack { attachments, .. } => *attachments,
            Self::Connect { .. } | Self::Disconnect | Self::ConnectError { .. } => 0,
        }
    }
}

/// Splits the namespace of an Engine.IO 3 connect packet into its path and its query. The query
/// contains what later clients send as the payload.
pub fn split_namespace(namespace: &str) -> (&str, Option<&str>) {
    match namespace.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (namespace, None),
    }
}
