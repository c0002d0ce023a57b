//! Socket.IO: the packets inside Engine.IO's messages.
//!
//! A packet with binary arguments is a text with placeholders, followed by one message of bytes per
//! attachment. An [`Assembler`] gathers them.

mod arguments;
mod assembler;
mod attachments;
mod decode;
mod encode;
mod packet;
#[cfg(test)]
mod properties;

pub use arguments::{ArgumentValues, Arguments};
pub use assembler::{Assembler, AssemblyLimits, BinaryPacket};
pub use decode::{DecodeError, decode};
pub use encode::{
    Argument, PacketHeader, push_ack, push_ack_arguments, push_connect, push_connect_error,
    push_disconnect, push_event, push_event_arguments, push_invalid_namespace,
};
pub use packet::{Event, PacketContent, SocketPacket, split_namespace};
