//! The first packet of a session.

use std::fmt::Write as _;
use std::time::Duration;

use crate::json::push_json_string;

/// The parameters of a new session, which the server sends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenPacket<'a> {
    /// The id of the session, for the client's other requests.
    pub sid: &'a str,
    /// Whether the client may upgrade to a WebSocket.
    pub offers_websocket: bool,
    /// The time between two pings.
    pub ping_interval: Duration,
    /// The time in which a ping must be answered.
    pub ping_timeout: Duration,
    /// The maximum length of a payload from the client, in bytes.
    pub max_payload_bytes: usize,
}

impl OpenPacket<'_> {
    /// Appends the packet, with its type and its fields in the reference server's order.
    pub fn push_text(&self, out: &mut String) {
        out.push_str(r#"0{"sid":"#);
        push_json_string(out, self.sid);
        out.push_str(if self.offers_websocket {
            r#","upgrades":["websocket"]"#
        } else {
            r#","upgrades":[]"#
        });
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            r#","pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            self.ping_interval.as_millis(),
            self.ping_timeout.as_millis(),
            self.max_payload_bytes
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_packet_is_that_of_the_reference_server() {
        let mut open = OpenPacket {
            sid: "lv_VI97HAXpY6yYWAAAC",
            offers_websocket: true,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload_bytes: 1_000_000,
        };
        let mut text = String::new();
        open.push_text(&mut text);
        assert_eq!(
            text,
            r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
        );
        open.offers_websocket = false;
        text.clear();
        open.push_text(&mut text);
        assert!(text.contains(r#","upgrades":[],"#), "{text}");
    }
}
