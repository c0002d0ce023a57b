//! The named limits of Socket.IO.

use std::time::Duration;

/// See each field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How often a client is pinged.
    pub ping_interval: Duration,
    /// How long it may take to answer a ping.
    pub ping_timeout: Duration,
    /// Largest packet in, and largest answer to a poll, in bytes; clients are told.
    pub max_payload_bytes: usize,
    /// From the session's opening until it joins a namespace, and from there to the first event where apps share a namespace.
    pub connect_timeout: Duration,
    /// How long a client may take to change from polling to a WebSocket.
    pub upgrade_timeout: Duration,
    /// Packets that wait for a client's socket or next poll, beside what its mailbox holds.
    pub buffered_packets: usize,
    /// For how long these may be full before the client is ended as too slow.
    pub behind: Duration,
    /// Messages per second from a client, on average. Over it: `error`, and the message is dropped.
    pub messages_per_second: u32,
    /// Messages at once before the average counts; as many again dropped in a row, or waiting: the client is ended.
    pub message_burst: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload_bytes: 1_000_000,
            connect_timeout: Duration::from_secs(10),
            upgrade_timeout: Duration::from_secs(10),
            buffered_packets: 128,
            behind: Duration::from_secs(20),
            messages_per_second: 20,
            message_burst: 200,
        }
    }
}
