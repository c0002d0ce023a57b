//! The limits of one client.

/// The default size of the largest message.
pub(crate) const MESSAGE_BYTES: u32 = 16 * 1024;
/// The default number of channels.
pub(crate) const CHANNELS: usize = 100;
/// The default number of choices of parameters of one key.
pub(crate) const PARAM_SETS_PER_KEY: u32 = 100;
/// The default average number of messages per second.
pub(crate) const MESSAGES_PER_SECOND: u32 = 50;
/// The default number of messages allowed at once.
pub(crate) const BURST_MESSAGES: u32 = 200;
/// The default time without input after which a client is pinged, in seconds.
pub(crate) const HEARTBEAT_S: u32 = 25;
/// The default time for which a client's socket may be full, in seconds.
pub(crate) const SLOW_CLIENT_S: u32 = 30;

/// The named limits of sessions. Durations are whole seconds, because the shards' timer wheel
/// advances once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// The largest message in bytes, over all its fragments. A larger one closes the connection
    /// with 1009.
    pub message_bytes: u32,
    /// The maximum number of channels at a time. A further one causes the error
    /// `too_many_channels`.
    pub channels: usize,
    /// The maximum number of choices of parameters of one key that all clients together watch at a
    /// time. A further one causes the error `too_many_channels`.
    pub param_sets_per_key: u32,
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

impl SessionLimits {
    /// Returns the message of the error `too_many_channels` for one channel more than a connection
    /// may have.
    pub fn too_many_channels_message(&self) -> String {
        format!("at most {} channels on one connection", self.channels)
    }
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            message_bytes: MESSAGE_BYTES,
            channels: CHANNELS,
            param_sets_per_key: PARAM_SETS_PER_KEY,
            messages_per_second: MESSAGES_PER_SECOND,
            message_burst: BURST_MESSAGES,
            heartbeat_s: HEARTBEAT_S,
            idle_timeout_s: idle_timeout_s(HEARTBEAT_S),
            slow_client_s: SLOW_CLIENT_S,
            expiry_notice_s: 60,
        }
    }
}

/// Returns the idle timeout, in seconds, that belongs to a heartbeat: the client may miss two pings
/// before it counts as gone.
pub(crate) fn idle_timeout_s(heartbeat_s: u32) -> u32 {
    heartbeat_s.saturating_mul(5) / 2
}
