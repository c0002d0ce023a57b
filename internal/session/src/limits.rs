//! The limits of one client.

/// The named limits of a session. Durations are whole seconds, because the shards' timer wheel
/// advances once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// The largest message in bytes, over all its fragments. A larger one closes the connection
    /// with 1009.
    pub message_bytes: u32,
    /// The maximum number of channels at a time. A further one causes the error
    /// `too_many_channels`.
    pub channels: usize,
    /// The average number of messages per second. Further ones are dropped with the error
    /// `rate_limited`.
    pub messages_per_second: u32,
    /// The messages allowed at once on top of the average. If as many again are dropped in a row,
    /// the connection is closed with 4429.
    pub message_burst: u32,
    /// The time without input after which a client is pinged, in seconds.
    pub heartbeat_s: u32,
    /// The time without input after which a client is closed with 4408, in seconds.
    pub idle_timeout_s: u32,
    /// The time for which a client's socket may be full before it is closed with 4413, in seconds.
    pub slow_client_s: u32,
    /// The notice period before the token expires, in seconds.
    pub expiry_notice_s: u32,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            message_bytes: 16 * 1024,
            channels: 100,
            messages_per_second: 20,
            message_burst: 200,
            heartbeat_s: 25,
            idle_timeout_s: 60,
            slow_client_s: 20,
            expiry_notice_s: 60,
        }
    }
}
