//! The configuration of the messaging app.

use latido_app_kit::ApiKeys;
use latido_auth::VerifierConfig;
use latido_session::SessionLimits;

use crate::api_version::ClientApiVersion;
use crate::store::MessageWindows;

/// The configuration of the messaging app.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The keys that verify tokens, and the claims that tokens must carry.
    pub verifier: VerifierConfig,
    /// The keys with which servers send notifications. Without any, none can.
    pub api_keys: ApiKeys,
    /// The API version that every client is assumed to use until its first version-specific push.
    /// `None` means that the address decides, to which the client has connected.
    pub assumed_api_version: Option<ClientApiVersion>,
    /// The number of messages that one user may send per hour; at least 1.
    pub messages_per_hour: u32,
    /// The number of times that one user may start typing per hour; at least 1.
    pub typing_per_hour: u32,
    /// The number of reactions that one user may add or remove per hour; at least 1.
    pub reactions_per_hour: u32,
    /// The number of times that one user may set a status per hour; at least 1.
    pub statuses_per_hour: u32,
    /// The number of channels that one user may join per hour; at least 1.
    pub joins_per_hour: u32,
    /// The periods in which messages may be retried, edited and deleted.
    pub windows: MessageWindows,
    /// The limits of one socket. The server does not ping it, because clients send their own
    /// heartbeat. A silent client is closed.
    pub limits: SessionLimits,
    /// The number of database connections that are reserved for this app.
    pub pool_size: usize,
}

impl Config {
    /// Returns the defaults with these keys. The user is the token's `sub`, even if the token names
    /// other users.
    pub(crate) fn new(mut verifier: VerifierConfig) -> Self {
        verifier.user_claims = &["sub"];
        verifier.session_claims = &["device_id", "session_id"];
        Self {
            verifier,
            api_keys: ApiKeys::default(),
            assumed_api_version: None,
            messages_per_hour: PER_HOUR,
            typing_per_hour: PER_HOUR,
            reactions_per_hour: PER_HOUR,
            statuses_per_hour: STATUSES_PER_HOUR,
            joins_per_hour: JOINS_PER_HOUR,
            windows: MessageWindows::default(),
            limits: socket_limits(SessionLimits::default()),
            pool_size: POOL_SIZE,
        }
    }
}

/// The default number of messages, of beginnings to type and of reactions of one user per hour.
pub(crate) const PER_HOUR: u32 = 1000;
/// The default number of status changes of one user per hour. Each one goes to all members of all
/// joined conversations.
pub(crate) const STATUSES_PER_HOUR: u32 = 360;
/// The default number of joins of one user per hour: 100 channels, once a minute.
pub(crate) const JOINS_PER_HOUR: u32 = 6000;
/// The largest numbers of these at once. Three devices with 100 channels each may reconnect
/// together.
pub(crate) const REACTION_BURST: u32 = 60;
pub(crate) const STATUS_BURST: u32 = 20;
pub(crate) const JOIN_BURST: u32 = 400;
/// The default number of database connections.
pub(crate) const POOL_SIZE: usize = 8;
/// The largest frame, in bytes: a content of the largest size with every character of it escaped.
const MAX_FRAME_BYTES: u32 = 512 * 1024;
/// The idle timeout, in seconds. Clients send a heartbeat every 30 s, but a browser runs the timers
/// of a tab in the background once per minute, so their heartbeats are 60 s apart. They get 15 s
/// more for a busy page and the way to the server; a shard rounds the timeout down by up to 1 s.
const IDLE_TIMEOUT_S: u32 = 75;

/// Returns the server's limits with the values that differ for this app.
pub(crate) fn socket_limits(server: SessionLimits) -> SessionLimits {
    SessionLimits {
        message_bytes: MAX_FRAME_BYTES,
        heartbeat_s: IDLE_TIMEOUT_S,
        idle_timeout_s: IDLE_TIMEOUT_S,
        ..server
    }
}
