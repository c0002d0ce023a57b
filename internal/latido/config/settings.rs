//! All settings as checked and typed values.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use crate::config::apps::{self, EnabledApp};
use crate::config::builtin::{ESTADISTICAS, estadisticas};
use crate::config::settings_reader::SettingsReader;
use crate::config::stream_file::{self, StreamFile};
use crate::config::{ConfigErrors, ConfigSources, Variable, parse, rlimit, variables as v};
use latido_auth::{
    ApiKey, IntrospectionConfig, JwksTimings, PolicyConfig, Secret, VerifierConfig,
    check_public_keys, check_secret, check_url,
};
use latido_http::{TlsFiles, TrustedProxies};
use latido_net::Origins;
use latido_stream::{Stream, ZoneRule};

const EXPECTED_DATABASE_URL: &str = "postgresql://user:password@host:port/database";
const EXPECTED_PUBLIC_KEY: &str = "a PEM public key, or the path of a file that holds one";
/// The interval at which the certificate files are checked for changes.
const TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(5);
const DAY_S: u64 = 86_400;

/// The command that reads the settings. It decides which settings are required. Settings that are
/// given are checked for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `latido serve`: requires a database and a key to verify tokens.
    Serve,
    /// `latido demo`: requires nothing. It brings its own database and secret, and listens on
    /// loopback.
    Demo,
    /// `latido install` and `uninstall`: require a database.
    Install,
    /// `latido doctor`: requires a database. It reports a weak or missing secret itself, so that is
    /// no error here.
    Doctor,
    /// `latido token`: requires an HMAC secret.
    Token,
    /// `latido healthcheck`: requires no setting.
    Healthcheck,
}

/// All settings, grouped by topic.
#[derive(Debug)]
pub struct Settings {
    /// Connection to the PostgreSQL database.
    pub database: DatabaseSettings,
    /// Authentication and authorisation of clients.
    pub auth: AuthSettings,
    /// The listener, its clients' origins, and shutdown.
    pub server: ServerSettings,
    /// Limits of connections, messages and time.
    pub limits: LimitSettings,
    /// Timing of database reads.
    pub engine: EngineSettings,
    /// The streams, with distinct names; at least one.
    pub streams: Vec<Stream>,
    /// The enabled apps. Empty unless the command starts a server.
    pub apps: Vec<EnabledApp>,
    /// The names of the enabled apps, also for commands that start no server.
    pub app_names: Vec<&'static str>,
    /// The IANA zone in which «today» begins, for streams without a zone of their own.
    pub time_zone: String,
    /// The log filter of `RUST_LOG`.
    pub log_filter: Option<String>,
    /// Messages about settings that work but deserve attention. They are logged once.
    pub warnings: Vec<String>,
}

/// The settings of the PostgreSQL connection.
#[derive(Debug)]
pub struct DatabaseSettings {
    /// The database URL. It is set for every purpose that requires one.
    pub url: Option<Secret>,
    /// A direct URL of the same database for LISTEN, or `None` to use `url`.
    pub listen_url: Option<Secret>,
    /// The maximum number of connections for reading, at least 1. The listener's connection is not
    /// counted.
    pub pool_size: usize,
    /// The time limit for one statement.
    pub statement_timeout: Duration,
    /// `true` to install triggers with the interest gate, which stay silent about unwatched keys.
    pub interest_gate: bool,
}

/// The settings of authentication and authorisation.
#[derive(Debug)]
pub struct AuthSettings {
    /// The keys and rules for tokens. It may lack keys only for purposes that need none.
    pub verifier: VerifierConfig,
    /// The administrator roles and the lifetime of cached permissions.
    pub policy: PolicyConfig,
    /// The key that the HTTP hook requires, or `None` if it requires none.
    pub notify_key: Option<ApiKey>,
}

/// The settings of the listener and of shutdown.
#[derive(Debug)]
pub struct ServerSettings {
    /// The IP address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 selects any free port.
    pub port: u16,
    /// `true` to let other processes listen on the same port.
    pub reuse_port: bool,
    /// The origins whose pages may connect.
    pub allowed_origins: Origins,
    /// The certificate and key files, or `None` for no TLS.
    pub tls: Option<TlsFiles>,
    /// The proxies whose `X-Forwarded-For` header is trusted.
    pub proxies: TrustedProxies,
    /// `true` to serve `/metrics`.
    pub metrics_enabled: bool,
    /// The number of threads that own sockets, at least 1.
    pub shards: usize,
    /// The time that clients get to disconnect at shutdown.
    pub shutdown_timeout: Duration,
}

/// The limits of connections, messages and time.
#[derive(Debug)]
pub struct LimitSettings {
    /// The maximum number of open connections.
    pub max_connections: usize,
    /// The maximum number of open connections from one address, or `None` for no limit.
    pub max_connections_per_address: Option<usize>,
    /// The maximum number of open connections of one user, or `None` for no limit.
    pub max_connections_per_user: Option<usize>,
    /// The maximum rate of new connections per second, or `None` for no limit.
    pub max_handshakes_per_second: Option<u32>,
    /// The maximum number of channels of one connection.
    pub max_channels: usize,
    /// The maximum length of a client's message, in bytes.
    pub max_message_bytes: usize,
    /// The average number of messages per second allowed from one client.
    pub messages_per_second: u32,
    /// The number of messages allowed at once before the average applies; at least the average.
    pub message_burst: u32,
    /// The interval at which a silent client is pinged.
    pub heartbeat_interval: Duration,
    /// The time limit from a connection to its complete request.
    pub handshake_timeout: Duration,
    /// The time that a client may accept no frame before it is disconnected.
    pub slow_client_timeout: Duration,
}

/// The timing of database reads.
#[derive(Debug)]
pub struct EngineSettings {
    /// The interval at which all watched keys are read again.
    pub sweep_interval: Duration,
    /// The minimum time between two reads of one key.
    pub read_interval: Duration,
}

impl Settings {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// Returns all errors together.
    pub fn read(sources: &ConfigSources, purpose: Purpose) -> Result<Self, ConfigErrors> {
        let mut reader = SettingsReader::new(sources);
        let r = &mut reader;
        let mut warnings = Vec::new();
        let database = database(r, purpose);
        let time_zone = time_zone(r, purpose);
        let mut file = r
            .text(&v::LATIDO_CONFIG)
            .and_then(|path| stream_file::read(Path::new(path), &time_zone, &mut r.errors));
        let tables = file
            .as_mut()
            .map(|file| std::mem::take(&mut file.apps))
            .unwrap_or_default();
        let (mut streams, file_roles) = streams(r, file, &time_zone);
        let auth = AuthSettings {
            verifier: verifier(r, purpose, &streams, &mut warnings),
            policy: policy(r, file_roles),
            notify_key: notify_key(r),
        };
        let (server, limits, engine) = (server(r, purpose), limits(r), engine(r));
        let (app_names, apps) = apps::read_apps(
            r,
            purpose,
            &tables,
            &mut streams,
            &auth.verifier,
            &time_zone,
        );
        add_stream_warnings(r, purpose, &streams, &mut warnings);
        let log_filter = r.text(&v::RUST_LOG).map(ToOwned::to_owned);
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        Ok(Self {
            database,
            auth,
            server,
            limits,
            engine,
            streams,
            apps,
            app_names,
            time_zone,
            log_filter,
            warnings,
        })
    }
}

fn database(r: &mut SettingsReader<'_>, purpose: Purpose) -> DatabaseSettings {
    let url = r
        .parse(&v::DATABASE_URL, EXPECTED_DATABASE_URL, parse::database_url)
        .map(Secret::new);
    let is_needed = matches!(purpose, Purpose::Serve | Purpose::Install | Purpose::Doctor);
    if is_needed && r.text(&v::DATABASE_URL).is_none() {
        r.errors.add(
            v::DATABASE_URL.name,
            format!("missing; expected {EXPECTED_DATABASE_URL}"),
        );
    }
    DatabaseSettings {
        url,
        listen_url: r
            .parse(
                &v::LISTEN_DATABASE_URL,
                EXPECTED_DATABASE_URL,
                parse::database_url,
            )
            .map(Secret::new),
        pool_size: r.count(&v::DATABASE_POOL_SIZE, 1..=1_000, 8),
        statement_timeout: r.seconds(&v::STATEMENT_TIMEOUT_SECONDS, 1..=600, 5),
        interest_gate: r.boolean(&v::INTEREST_GATE, true),
    }
}

fn time_zone(r: &mut SettingsReader<'_>, purpose: Purpose) -> String {
    let expected = "an IANA time zone such as America/Guayaquil";
    // The demo's example businesses are in the same time zone as the first real one.
    let default = if purpose == Purpose::Demo {
        "America/Guayaquil"
    } else {
        "UTC"
    };
    r.parse(&v::TIMEZONE, expected, parse::time_zone)
        .unwrap_or_else(|| default.to_owned())
}

/// Returns the streams of the file, and the built-in ones that they do not replace. Also returns
/// the file's administrator roles.
fn streams(
    r: &mut SettingsReader<'_>,
    file: Option<StreamFile>,
    zone: &str,
) -> (Vec<Stream>, Option<Vec<String>>) {
    let Some(StreamFile {
        admin_roles,
        include_builtin: keeps_builtin,
        mut streams,
        ..
    }) = file
    else {
        return (vec![estadisticas(zone)], None);
    };
    if keeps_builtin && streams.iter().all(|stream| stream.name != ESTADISTICAS) {
        streams.insert(0, estadisticas(zone));
    }
    if streams.is_empty() {
        r.errors.add(
            v::LATIDO_CONFIG.name,
            "no stream is left; expected [streams.NAME], or builtin_streams = true",
        );
    }
    (streams, admin_roles)
}

fn verifier(
    r: &mut SettingsReader<'_>,
    purpose: Purpose,
    streams: &[Stream],
    warnings: &mut Vec<String>,
) -> VerifierConfig {
    let is_weak_allowed = r.boolean(&v::JWT_ALLOW_WEAK_SECRET, false);
    let mut secrets = Vec::new();
    for variable in [v::JWT_SECRET, v::JWT_SECRET_PREVIOUS] {
        let Some(secret) = r.secret(&variable) else {
            continue;
        };
        let is_weak = check_secret(&secret, false)
            .err()
            .filter(|_| check_secret(&secret, true).is_ok());
        if let Some(error) = is_weak.filter(|_| purpose != Purpose::Doctor) {
            warnings.push(format!("{}: {error}", variable.name));
        }
        r.ok_or_record(
            variable.name,
            check_secret(&secret, is_weak_allowed || purpose == Purpose::Doctor),
        );
        secrets.push(secret);
    }
    let public_keys = public_keys(r, &v::JWT_PUBLIC_KEY);
    let jwks_url = r.text(&v::JWT_JWKS_URL).map(ToOwned::to_owned);
    if let Some(url) = &jwks_url {
        r.ok_or_record(v::JWT_JWKS_URL.name, check_url(url));
    }
    require_keys(r, purpose);
    VerifierConfig {
        secrets,
        allow_weak_secrets: is_weak_allowed,
        public_keys,
        jwks_url,
        jwks_timings: JwksTimings::default(),
        introspection: introspection(r),
        issuer: r.text(&v::JWT_ISSUER).map(ToOwned::to_owned),
        audience: r.text(&v::JWT_AUDIENCE).map(ToOwned::to_owned),
        key_fields: streams
            .iter()
            .map(|stream| stream.key_field.clone())
            .collect(),
        ..VerifierConfig::default()
    }
}

fn introspection(r: &mut SettingsReader<'_>) -> Option<IntrospectionConfig> {
    let every = r.seconds(&v::JWT_INTROSPECTION_SECONDS, 1..=3_600, 30);
    let fails_open = r.boolean(&v::JWT_INTROSPECTION_FAIL_OPEN, false);
    let url = r.text(&v::JWT_INTROSPECTION_URL)?;
    r.ok_or_record(v::JWT_INTROSPECTION_URL.name, check_url(url));
    Some(IntrospectionConfig {
        url: Secret::new(url),
        interval: every,
        fails_open,
    })
}

/// Reads public keys from PEM text, in which `\n` may stand for a line break, or from the file at a
/// path.
pub(super) fn public_keys(r: &mut SettingsReader<'_>, variable: &Variable) -> Option<String> {
    let text = r.text(variable)?;
    let pem = if text.contains("-----BEGIN") {
        Some(text.replace("\\n", "\n"))
    } else {
        // The value is not shown in the error: it may be a key whose first line was lost.
        let read = std::fs::read_to_string(text).map_err(|error| {
            format!(
                "no such file ({}); expected {EXPECTED_PUBLIC_KEY}",
                error.kind()
            )
        });
        r.ok_or_record(variable.name, read)
    }?;
    r.ok_or_record(variable.name, check_public_keys(&pem));
    Some(pem)
}

fn require_keys(r: &mut SettingsReader<'_>, purpose: Purpose) {
    let has_secret = r.text(&v::JWT_SECRET).is_some();
    let has_key =
        has_secret || r.text(&v::JWT_PUBLIC_KEY).is_some() || r.text(&v::JWT_JWKS_URL).is_some();
    let expected = "missing; expected at least 32 random bytes (openssl rand -base64 48)";
    match purpose {
        Purpose::Serve if !has_key => {
            r.errors.add(
                v::JWT_SECRET.name,
                format!("{expected}, or else JWT_PUBLIC_KEY or JWT_JWKS_URL"),
            );
        }
        Purpose::Token if !has_secret => r.errors.add(
            v::JWT_SECRET.name,
            format!("{expected}: the one that the server has"),
        ),
        _ => {}
    }
}

fn policy(r: &mut SettingsReader<'_>, file_roles: Option<Vec<String>>) -> PolicyConfig {
    let variable_roles = r.text(&v::ADMIN_ROLES).map(|text| {
        if text == "none" {
            Vec::new()
        } else {
            parse::list(text)
        }
    });
    PolicyConfig {
        admin_roles: variable_roles
            .or(file_roles)
            .unwrap_or_else(|| vec!["admin_sistema".to_owned()]),
        cache_ttl: r.seconds(&v::AUTHORIZE_CACHE_SECONDS, 1..=3_600, 10),
        ..PolicyConfig::default()
    }
}

fn notify_key(r: &mut SettingsReader<'_>) -> Option<ApiKey> {
    let key = r.secret(&v::NOTIFY_API_KEY)?;
    r.ok_or_record(v::NOTIFY_API_KEY.name, ApiKey::parse(&key))
}

fn server(r: &mut SettingsReader<'_>, purpose: Purpose) -> ServerSettings {
    let default = if purpose == Purpose::Demo {
        Ipv4Addr::LOCALHOST
    } else {
        Ipv4Addr::UNSPECIFIED
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let origins = "origins such as https://panel.example.com,http://localhost:4200, or *";
    ServerSettings {
        host: r
            .parse(
                &v::HOST,
                "an IP address such as 0.0.0.0, :: or 127.0.0.1",
                parse::address,
            )
            .unwrap_or(default.into()),
        port: u16::try_from(r.number(&v::PORT, 0..=65_535, 8_080)).unwrap_or_default(),
        reuse_port: r.boolean(&v::REUSE_PORT, false),
        allowed_origins: r
            .parse(&v::ALLOWED_ORIGINS, origins, |text| text.parse().ok())
            .unwrap_or_default(),
        tls: tls(r),
        proxies: r
            .parse(
                &v::TRUSTED_PROXIES,
                "addresses or networks such as 10.0.0.0/8, ::1",
                |text| text.parse().ok(),
            )
            .unwrap_or_default(),
        metrics_enabled: r.boolean(&v::METRICS, true),
        shards: r.count(&v::SHARDS, 1..=1_024, cores as u64),
        shutdown_timeout: r.seconds(&v::SHUTDOWN_SECONDS, 1..=3_600, 10),
    }
}

/// Reads the paths of the TLS files: both or none. Their contents are checked when the server loads
/// them.
fn tls(r: &mut SettingsReader<'_>) -> Option<TlsFiles> {
    match (r.text(&v::TLS_CERT), r.text(&v::TLS_KEY)) {
        (Some(certificates), Some(key)) => Some(TlsFiles {
            certificates: certificates.into(),
            key: key.into(),
            check_interval: TLS_RELOAD_INTERVAL,
        }),
        (None, None) => None,
        (certificates, _) => {
            let missing = if certificates.is_none() {
                v::TLS_CERT
            } else {
                v::TLS_KEY
            };
            r.errors
                .add(missing.name, "missing; expected the path of a PEM file, beside that of the other of TLS_CERT and TLS_KEY");
            None
        }
    }
}

fn limits(r: &mut SettingsReader<'_>) -> LimitSettings {
    let rate =
        u32::try_from(r.number(&v::MAX_MESSAGES_PER_SECOND, 1..=100_000, 50)).unwrap_or(u32::MAX);
    let burst = u32::try_from(r.number(&v::MESSAGE_BURST, 1..=1_000_000, 200)).unwrap_or(u32::MAX);
    let max_total = r.optional_number(&v::MAX_CONNECTIONS, 1..=10_000_000);
    let max_per_address = r.optional_number(&v::MAX_CONNECTIONS_PER_ADDRESS, 1..=10_000_000);
    let max_per_user = r.optional_number(&v::MAX_CONNECTIONS_PER_USER, 1..=10_000_000);
    let max_handshakes = r.optional_number(&v::MAX_HANDSHAKES_PER_SECOND, 1..=1_000_000);
    LimitSettings {
        max_connections_per_user: max_per_user.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        max_handshakes_per_second: max_handshakes.map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        max_connections: max_total.map_or_else(rlimit::max_connections, |n| {
            usize::try_from(n).unwrap_or(usize::MAX)
        }),
        max_connections_per_address: max_per_address
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        max_channels: r.count(&v::MAX_CHANNELS, 1..=100_000, 100),
        // The lower bound, in bytes: a smaller message could not contain a token.
        max_message_bytes: r.count(&v::MAX_MESSAGE_BYTES, 1_024..=16_777_216, 16_384),
        messages_per_second: rate,
        message_burst: burst.max(rate),
        heartbeat_interval: r.seconds(&v::HEARTBEAT_SECONDS, 1..=3_600, 25),
        handshake_timeout: r.seconds(&v::HANDSHAKE_SECONDS, 1..=60, 5),
        slow_client_timeout: r.seconds(&v::SLOW_CLIENT_SECONDS, 1..=3_600, 30),
    }
}

fn engine(r: &mut SettingsReader<'_>) -> EngineSettings {
    EngineSettings {
        sweep_interval: r.seconds(&v::SWEEP_SECONDS, 1..=DAY_S, 30),
        read_interval: Duration::from_millis(r.number(&v::READ_INTERVAL_MS, 0..=60_000, 50)),
    }
}

fn add_stream_warnings(
    r: &SettingsReader<'_>,
    purpose: Purpose,
    streams: &[Stream],
    warnings: &mut Vec<String>,
) {
    // A stream with a fixed zone does not need the default. A stream that queries its zone falls
    // back to the default.
    let needs_zone = |stream: &Stream| match &stream.zone_rule {
        ZoneRule::Fixed(zone) => zone == "UTC",
        ZoneRule::Query { .. } => true,
    };
    if purpose != Purpose::Demo && r.text(&v::TIMEZONE).is_none() && streams.iter().any(needs_zone)
    {
        warnings
            .push("TIMEZONE is not set: «today» begins at midnight UTC; expected a zone such as America/Guayaquil".to_owned());
    }
    for stream in streams.iter().filter(|stream| stream.tables.is_empty()) {
        let name = &stream.name;
        warnings.push(format!(
            "stream {name} names no tables: its changes are seen by the hook and the sweep alone"
        ));
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
