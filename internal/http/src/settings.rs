//! The settings of the listener and of connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use latido_admission::{REQUESTS_PER_USER, TrustedProxies};
use latido_auth::ApiKey;
use latido_session::SessionLimits;
use latido_settings::{SettingsReader, variables};

use crate::command_hints::CommandHints;
use crate::config::{Config, HEAD_TIMEOUT, unacknowledged_timeout};
use crate::{TlsFiles, rlimit};

const DEFAULT_PORT: u16 = 8_080;
/// The interval at which the certificate files are checked for changes.
const TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(5);
const EXPECTED_ORIGINS: &str =
    "origins such as https://panel.example.com,http://localhost:4200, or *";
const EXPECTED_HINTS: &str = "host, container or compose";
const EXPECTED_PROXIES: &str = "addresses or networks such as 10.0.0.0/8, ::1";
const EXPECTED_PEM_FILE: &str =
    "the path of a PEM file, beside that of the other of TLS_CERT and TLS_KEY";
/// The largest limit of connections that can be set.
const LARGEST_LIMIT: usize = 10_000_000;

variables! {
    /// The variables of the listener and of connections.
    pub const VARIABLES;
    "Server" {
        plain HOST "ADDRESS" = shown("0.0.0.0; demo: 127.0.0.1"),
            "Address to listen on; :: for IPv6 as well";
        plain PORT "PORT" = u16(DEFAULT_PORT),
            "Port to listen on; 0: any free port";
        plain REUSE_PORT "true|false" = bool(false),
            "Lets another process listen on the same port, for example the next version during a restart. Socket activation by systemd needs no setting";
        plain ALLOWED_ORIGINS "LIST" = shown("*"),
            "Pages of other hosts that may connect (https://panel.example.com, file://, null), separated by commas; *: any. Any is safe, because cookies and the like do not authenticate";
        secret NOTIFY_API_KEY "KEY" = none,
            "Key that callers of POST /notify/… must send (X-API-Key or Bearer), or sha256: and its hexadecimal hash. Unset: no key is needed";
        plain TLS_CERT "PATH" = none,
            "PEM file with the certificate and its chain. The server then speaks only https and wss, and reads the files again when they change";
        plain TLS_KEY "PATH" = none,
            "PEM file with the certificate's private key";
        plain TRUSTED_PROXIES "LIST" = none,
            "Addresses or networks (10.0.0.0/8) of proxies whose X-Forwarded-For is used for the limit per address, separated by commas. Unset: none";
        plain METRICS "true|false" = bool(true),
            "Serves GET /metrics for Prometheus";
        plain COMMAND_HINTS "host|container|compose" = shown("host; in the image: container"),
            "Where the commands run that the pages name: on this machine, in a container, or in the service latido of docker-compose.yml";
    }
    "Limits" {
        plain MAX_CONNECTIONS "N" = shown("what the open-file limit allows"),
            "Maximum number of open connections";
        plain MAX_CONNECTIONS_PER_ADDRESS "N" = shown("no limit"),
            "Maximum number of open connections from one address. Behind a proxy all clients share its address, unless TRUSTED_PROXIES names it";
        plain MAX_CONNECTIONS_PER_USER "N" = shown("no limit"),
            "Maximum number of open WebSockets and event streams of one user. More get 429";
        plain MAX_HANDSHAKES_PER_SECOND "N" = shown("no limit"),
            "New connections per second, on average; as many more may come at once. More get 503, and open connections are not affected";
        plain MAX_REQUESTS_PER_USER "N" = u32(REQUESTS_PER_USER),
            "Snapshots and event streams that one user may request per second, on average; five times as many may come at once. More get 429";
        plain HANDSHAKE_SECONDS "SECONDS" = seconds(HEAD_TIMEOUT),
            "Maximum time from a connection to its complete request, and from the first byte of a later request to its complete head";
    }
}

/// The address of the main listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenConfig {
    /// The address to listen on; port 0 selects any free port.
    pub address: SocketAddr,
    /// `true` to let other processes listen on the same port.
    pub reuse_port: bool,
}

impl ListenConfig {
    /// Reads the address of the main listener.
    pub fn from_settings(r: &mut SettingsReader<'_>, default_host: IpAddr) -> Self {
        let host = r.listen_ip(&HOST).unwrap_or(default_host);
        Self {
            address: SocketAddr::new(host, r.number(&PORT, 0..=u16::MAX)),
            reuse_port: r.boolean(&REUSE_PORT),
        }
    }
}

/// Reads the port alone, for a server whose address is fixed. Returns `None` if it is unset.
pub fn read_port(r: &mut SettingsReader<'_>) -> Option<u16> {
    r.optional_number(&PORT, 0..=u16::MAX)
}

/// Reads the key that the HTTP hook requires. Returns `None` if it requires none.
pub fn read_notify_key(r: &mut SettingsReader<'_>) -> Option<ApiKey> {
    ApiKey::from_settings(r, &NOTIFY_API_KEY)
}

impl Config {
    /// Reads the settings of the HTTP side. `limits` are those of a session. `drain_grace` is the
    /// time that requests in progress get once the server stops.
    pub fn from_settings(
        r: &mut SettingsReader<'_>,
        limits: &SessionLimits,
        drain_grace: Duration,
    ) -> Self {
        Self {
            origins: r
                .parse(&ALLOWED_ORIGINS, EXPECTED_ORIGINS, |text| text.parse().ok())
                .unwrap_or_default(),
            tls: TlsFiles::from_settings(r),
            proxies: trusted_proxies(r),
            metrics_enabled: r.boolean(&METRICS),
            command_hints: r
                .parse(&COMMAND_HINTS, EXPECTED_HINTS, CommandHints::parse)
                .unwrap_or_default(),
            max_connections: r
                .optional_number(&MAX_CONNECTIONS, 1..=LARGEST_LIMIT)
                .unwrap_or_else(rlimit::max_connections),
            max_connections_per_address: r
                .optional_number(&MAX_CONNECTIONS_PER_ADDRESS, 1..=LARGEST_LIMIT),
            max_connections_per_user: r
                .optional_number(&MAX_CONNECTIONS_PER_USER, 1..=LARGEST_LIMIT),
            max_handshakes_per_second: r.optional_number(&MAX_HANDSHAKES_PER_SECOND, 1..=1_000_000),
            max_requests_per_user: r.number(&MAX_REQUESTS_PER_USER, 1..=1_000_000),
            head_timeout: r.seconds(&HANDSHAKE_SECONDS, 1..=60),
            unacknowledged_timeout: unacknowledged_timeout(limits),
            drain_grace,
            ..Self::default()
        }
    }
}

/// Reads the proxies. A list that trusts everybody is warned of.
fn trusted_proxies(r: &mut SettingsReader<'_>) -> TrustedProxies {
    let proxies: TrustedProxies = r
        .parse(&TRUSTED_PROXIES, EXPECTED_PROXIES, |text| text.parse().ok())
        .unwrap_or_default();
    if proxies.trusts_everyone() {
        r.warnings.push(format!(
            "{}: trusts every address, so every client can name another one in X-Forwarded-For; expected the proxies alone",
            TRUSTED_PROXIES.name
        ));
    }
    proxies
}

impl TlsFiles {
    /// Reads the paths of the TLS files: both or none. Their contents are checked when the server
    /// loads them.
    fn from_settings(r: &mut SettingsReader<'_>) -> Option<Self> {
        let files = (r.text(&TLS_CERT), r.text(&TLS_KEY));
        if let (Some(certificates), Some(key)) = files {
            return Some(Self {
                certificates: certificates.into(),
                key: key.into(),
                check_interval: TLS_RELOAD_INTERVAL,
            });
        }
        if files != (None, None) {
            r.require(&TLS_CERT, EXPECTED_PEM_FILE);
            r.require(&TLS_KEY, EXPECTED_PEM_FILE);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use latido_settings::ConfigSources;

    use super::*;

    /// Reads the default settings with these variables changed.
    fn config(variables: &[(&str, &str)]) -> Config {
        let sources = ConfigSources::from_variables(variables);
        let r = &mut SettingsReader::new(&sources);
        let limits = SessionLimits::from_settings(r);
        Config::from_settings(r, &limits, Duration::from_secs(1))
    }

    #[test]
    fn unset_variables_give_the_default_http_configuration() {
        let defaults = Config {
            drain_grace: Duration::from_secs(1),
            ..Config::default()
        };
        assert_eq!(format!("{:?}", config(&[])), format!("{defaults:?}"));
    }

    #[test]
    fn metrics_can_be_disabled() {
        for (value, shown) in [("true", true), ("false", false)] {
            assert_eq!(config(&[("METRICS", value)]).metrics_enabled, shown);
        }
    }

    #[test]
    fn proxy_list_of_everyone_is_warned_of() {
        for (list, count) in [("10.0.0.0/8", 0), ("0.0.0.0/0", 1)] {
            let sources = ConfigSources::from_variables(&[("TRUSTED_PROXIES", list)]);
            let r = &mut SettingsReader::new(&sources);
            trusted_proxies(r);
            assert_eq!(r.warnings.len(), count, "{:?}", r.warnings);
        }
    }

    #[test]
    fn slow_client_is_disconnected_by_the_shard_before_the_kernel() {
        for seconds in [1, 30, 300] {
            let config = config(&[("SLOW_CLIENT_SECONDS", &seconds.to_string())]);
            assert!(config.unacknowledged_timeout > Duration::from_secs(seconds));
        }
    }

    #[test]
    fn one_tls_file_alone_is_an_error() {
        let sources = ConfigSources::from_variables(&[("TLS_KEY", "key.pem")]);
        let r = &mut SettingsReader::new(&sources);
        assert!(TlsFiles::from_settings(r).is_none());
        let expected = "TLS_CERT: missing; expected the path of a PEM file, beside that of the other of TLS_CERT and TLS_KEY";
        assert!(r.errors.to_string().ends_with(expected), "{}", r.errors);
    }
}
