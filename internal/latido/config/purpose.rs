//! The commands that read settings, and what each of them requires.

use std::net::{IpAddr, Ipv4Addr};

use latido_auth::KeyRequirement;

/// The command that reads the settings. It decides which settings are required. Settings that are
/// given are checked for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `latido serve`: requires a database and a key to verify tokens.
    Serve,
    /// `latido demo`: requires nothing. It brings its own database and secret, and listens on
    /// loopback.
    Demo,
    /// `latido install`, `grants` and `types`: require a database.
    Install,
    /// `latido add` and `uninstall`: require a database, and no stream: the first one is to be added,
    /// or the last one is gone.
    Add,
    /// `latido doctor`: requires a database. It reports a weak or missing secret itself, so that is
    /// no error here.
    Doctor,
    /// `latido token`: requires an HMAC secret.
    Token,
    /// `latido healthcheck`: requires no setting.
    Healthcheck,
}

impl Purpose {
    /// Returns `true` if the command requires a configured database.
    pub(super) fn requires_database(self) -> bool {
        matches!(self, Self::Serve | Self::Install | Self::Add | Self::Doctor)
    }

    /// Returns `true` if the command has nothing to do without a stream.
    pub(super) fn requires_streams(self) -> bool {
        self != Self::Add
    }

    /// Returns `true` if the command starts a server.
    pub(super) fn starts_server(self) -> bool {
        matches!(self, Self::Serve | Self::Demo)
    }

    /// Returns the token keys that the command requires.
    pub(super) fn required_keys(self) -> KeyRequirement {
        match self {
            Self::Serve => KeyRequirement::Verify,
            Self::Token => KeyRequirement::Sign,
            Self::Doctor => KeyRequirement::Examine,
            Self::Demo | Self::Install | Self::Add | Self::Healthcheck => KeyRequirement::Nothing,
        }
    }

    /// Returns the address to listen on if `HOST` is unset.
    pub(super) fn default_host(self) -> IpAddr {
        match self {
            Self::Demo => Ipv4Addr::LOCALHOST.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// Returns the time zone if `TIMEZONE` is unset.
    pub(super) fn default_time_zone(self) -> &'static str {
        match self {
            // The demo's example businesses are in the same time zone as the first real one.
            Self::Demo => "America/Guayaquil",
            _ => "UTC",
        }
    }
}
