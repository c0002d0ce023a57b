//! Engine.IO: the packets of a connection, and the payloads of polling.

mod open;
mod packet;
mod payload;
mod payload_encoding;
#[cfg(test)]
mod properties;
mod version;

pub use open::OpenPacket;
pub use packet::{Packet, PacketError, begin_message, push_binary_frame};
pub use payload::{PayloadBody, PayloadError, PayloadLimits, PayloadPackets, decode_payload};
pub use payload_encoding::{PayloadForm, PayloadRecord, encode_payload};
pub use version::Version;
