//! What one client may do.

/// The named limits of a session. Durations are whole seconds: the shards' timer wheel turns once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes, all fragments together. Over it: close 1009.
    pub message_bytes: u32,
    /// Most channels at a time. Over it: error `too_many_channels`.
    pub channels: usize,
    /// Messages per second, on average. Over it: error `rate_limited`, and the message is dropped.
    pub messages_per_second: u32,
    /// Messages at once before the average counts; as many again dropped in a row: close 4429.
    pub message_burst: u32,
    /// A client that says nothing for this long is pinged.
    pub heartbeat_s: u32,
    /// A client that says nothing for this long is closed with 4408.
    pub silence_s: u32,
    /// A client whose socket has been full for this long is closed with 4413.
    pub behind_s: u32,
    /// How long before the token's expiry the client is told.
    pub expiry_notice_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 16 * 1024,
            channels: 100,
            messages_per_second: 20,
            message_burst: 200,
            heartbeat_s: 25,
            silence_s: 60,
            behind_s: 20,
            expiry_notice_s: 60,
        }
    }
}
