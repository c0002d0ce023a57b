//! The named limits of Socket.IO.

use std::time::Duration;

use crate::engine::{Millis, Timing};
use latido_session::SessionLimits;

/// The settings of Socket.IO on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The interval between two pings to a client.
    pub ping_interval: Duration,
    /// The time in which a client must answer a ping.
    pub ping_timeout: Duration,
    /// The largest incoming packet, in bytes. Events wait when as much waits for a poll. The handshake
    /// announces it.
    pub max_payload_bytes: usize,
    /// The time from the opening of the session until it joins a namespace, and from there to the
    /// first event if apps share the namespace.
    pub connect_timeout: Duration,
    /// The pause between the handshake of a WebSocket and the first packet of its session. Only the
    /// public suite of version 3 needs one: it misses a packet that arrives together with the `101`.
    pub open_delay: Duration,
    /// The time in which a client must complete the upgrade from polling to a WebSocket.
    pub upgrade_timeout: Duration,
    /// The packets that may wait for a client's next poll, in addition to its mailbox.
    pub buffered_packets: usize,
    /// The time for which a client's socket or that buffer may be full before the client is
    /// disconnected as too slow.
    pub slow_client: Duration,
    /// The average number of packets per second from a client. Further ones are dropped with an
    /// `error`.
    pub messages_per_second: u32,
    /// The packets allowed at once on top of the average. The client is disconnected if as many
    /// again are dropped in a row, or are waiting.
    pub message_burst: u32,
    /// The time from the opening of a session until its client has identified itself to an app. The
    /// whole connection ends otherwise, and also if the client is not identified again in that time
    /// after its last identity has ended.
    pub identify_timeout: Duration,
    /// The maximum number of sessions whose clients are not identified yet.
    pub unidentified_sessions: usize,
    /// The maximum number of such sessions from one address.
    pub unidentified_sessions_per_address: usize,
    /// The largest message on the WebSocket of a client that is not identified yet, in bytes.
    pub unidentified_message_bytes: usize,
    /// The bytes that the client of a session may send before it is identified.
    pub unidentified_session_bytes: usize,
    /// The bytes that all such clients together may have sent.
    pub unidentified_total_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self::from(&SessionLimits::default())
    }
}

/// Takes the limits of a client from those of every WebSocket. The packet sizes are the protocol's
/// defaults.
impl From<&SessionLimits> for Config {
    fn from(limits: &SessionLimits) -> Self {
        Self {
            ping_interval: Duration::from_secs(limits.heartbeat_s.into()),
            ping_timeout: Duration::from_secs(20),
            max_payload_bytes: 1_000_000,
            connect_timeout: Duration::from_secs(10),
            open_delay: Duration::ZERO,
            upgrade_timeout: Duration::from_secs(10),
            buffered_packets: 128,
            slow_client: Duration::from_secs(limits.slow_client_s.into()),
            messages_per_second: limits.messages_per_second,
            message_burst: limits.message_burst,
            identify_timeout: Duration::from_millis(10_500),
            unidentified_sessions: 10_000,
            unidentified_sessions_per_address: 1_000,
            unidentified_message_bytes: limits.message_bytes as usize,
            unidentified_session_bytes: 64 * 1024,
            unidentified_total_bytes: 64 * 1024 * 1024,
        }
    }
}

/// The time that a heartbeat may be late, above the protocol's own, before the shard closes a
/// silent socket.
const HEARTBEAT_MARGIN: Duration = Duration::from_secs(30);

impl Config {
    /// Returns the times of the heartbeat.
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            ping_interval: millis(self.ping_interval),
            ping_timeout: millis(self.ping_timeout),
        }
    }

    /// Returns the limits of a WebSocket for its shard. The session has a heartbeat of its own, so
    /// the shard sends no pings.
    pub(crate) fn socket_limits(&self) -> SessionLimits {
        let silence = self.ping_interval + self.ping_timeout + HEARTBEAT_MARGIN;
        let silence_s = u32::try_from(silence.as_secs()).unwrap_or(u32::MAX);
        SessionLimits {
            message_bytes: saturating_u32(
                self.unidentified_message_bytes
                    .min(self.unidentified_session_bytes),
            ),
            messages_per_second: self.messages_per_second,
            message_burst: self.message_burst,
            heartbeat_s: silence_s,
            idle_timeout_s: silence_s,
            slow_client_s: u32::try_from(self.slow_client.as_secs()).unwrap_or(u32::MAX),
            ..SessionLimits::default()
        }
    }
}

/// Converts a duration to milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// Converts a number of bytes to the type of the shard's limits.
pub(crate) fn saturating_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
