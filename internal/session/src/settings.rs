//! The settings of a session's limits.

use latido_settings::{SettingsReader, variables};

use crate::limits::{
    BURST_MESSAGES, CHANNELS, HEARTBEAT_S, MESSAGE_BYTES, MESSAGES_PER_SECOND, PARAM_SETS_PER_KEY,
    SLOW_CLIENT_S, SessionLimits, idle_timeout_s,
};

variables! {
    /// The variables of a session's limits.
    pub const VARIABLES;
    "Limits" {
        plain MAX_CHANNELS "N" = usize(CHANNELS),
            "Maximum number of channels of one connection";
        plain MAX_PARAM_SETS_PER_KEY "N" = u32(PARAM_SETS_PER_KEY),
            "Maximum number of choices of parameters of one key that are watched at a time";
        plain MAX_MESSAGE_BYTES "BYTES" = u32(MESSAGE_BYTES),
            "Maximum size of a message from a client";
        plain MAX_MESSAGES_PER_SECOND "N" = u32(MESSAGES_PER_SECOND),
            "Messages per second from one client, on average";
        plain MESSAGE_BURST "N" = u32(BURST_MESSAGES),
            "Messages that may come at once before the average counts";
        plain HEARTBEAT_SECONDS "SECONDS" = u32(HEARTBEAT_S),
            "Time after which a silent client is pinged";
        plain SLOW_CLIENT_SECONDS "SECONDS" = u32(SLOW_CLIENT_S),
            "Time for which a client may accept no frame before the server closes it";
    }
}

impl SessionLimits {
    /// Reads the limits of a session.
    pub fn from_settings(r: &mut SettingsReader<'_>) -> Self {
        let messages_per_second = r.number(&MAX_MESSAGES_PER_SECOND, 1..=100_000);
        let message_burst = r.number(&MESSAGE_BURST, 1..=1_000_000);
        let heartbeat_s = r.number(&HEARTBEAT_SECONDS, 1..=3_600);
        Self {
            channels: r.number(&MAX_CHANNELS, 1..=100_000),
            param_sets_per_key: r.number(&MAX_PARAM_SETS_PER_KEY, 1..=1_000_000),
            // The lower bound, in bytes: a smaller message could not contain a token.
            message_bytes: r.number(&MAX_MESSAGE_BYTES, 1_024..=16_777_216),
            messages_per_second,
            message_burst: message_burst.max(messages_per_second),
            heartbeat_s,
            idle_timeout_s: idle_timeout_s(heartbeat_s),
            slow_client_s: r.number(&SLOW_CLIENT_SECONDS, 1..=3_600),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use latido_settings::ConfigSources;

    use super::*;

    #[test]
    fn unset_variables_give_the_default_limits() {
        let sources = ConfigSources::default();
        let limits = SessionLimits::from_settings(&mut SettingsReader::new(&sources));
        assert_eq!(limits, SessionLimits::default());
    }

    #[test]
    fn idle_timeout_follows_the_heartbeat_and_the_burst_is_at_least_the_average() {
        let sources = ConfigSources::from_variables(&[
            ("HEARTBEAT_SECONDS", "10"),
            ("MAX_MESSAGES_PER_SECOND", "500"),
        ]);
        let limits = SessionLimits::from_settings(&mut SettingsReader::new(&sources));
        assert_eq!((limits.idle_timeout_s, limits.message_burst), (25, 500));
    }
}
