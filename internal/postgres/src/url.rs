//! Connection URLs in common use: those of libpq, with the parameters that ORMs and poolers add.
//! Pure.
//!
//! The driver knows three TLS modes and refuses unknown parameters, so the additional parameters
//! are removed first.

use std::path::PathBuf;

use tokio_postgres::config::{Host, SslMode};

use crate::tls::{DatabaseTlsError, TlsMode, TlsOptions, TrustedRoots};

/// The port of the transaction pooler of Supabase and other providers.
const POOLER_PORT: u16 = 6543;

/// The default time-outs. A dead connection is detected after 5 s of silence and 3 probes 2 s
/// apart, or 6 s after sending: see appendix §7. They come first, so that the same parameters in
/// the URL override them.
const DEFAULT_PARAMS: &str =
    "keepalives_idle=5&keepalives_interval=2&keepalives_retries=3&tcp_user_timeout=6";

const FORM: &str = "postgresql://user:password@host:port/database";

/// The parameters that are passed to the driver.
const DRIVER_PARAMS: [&str; 18] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// The parameters of other libraries that have no effect here.
const IGNORED_PARAMS: [&str; 22] = [
    "binary_parameters",
    "client_encoding",
    "connection_limit",
    "default_query_exec_mode",
    "fallback_application_name",
    "gssencmode",
    "max_connections",
    "max_pool_size",
    "pool_max_conns",
    "pool_size",
    "pool_timeout",
    "prepare",
    "preparethreshold",
    "sslcompression",
    "sslidentity",
    "sslaccept",
    "socket_timeout",
    "statement_cache_capacity",
    "statement_cache_size",
    "supa",
    "uselibpqcompat",
    "workaround",
];

/// An unusable URL. The error never holds the URL, nor any part of it that could be a password.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// No database is configured.
    #[error("missing; expected {FORM}")]
    Missing,
    /// The text is not a PostgreSQL URL.
    #[error("expected {FORM}")]
    Malformed,
    /// A reserved character in the password is not percent-encoded.
    #[error(
        "expected {FORM}, with reserved characters of user and password percent-encoded (@ is %40, / is %2F, ? is %3F, % is %25)"
    )]
    UnescapedCharacter,
    /// The URL contains no host.
    #[error("no host; expected {FORM}, or ?host=/folder/of/the/socket")]
    NoHost,
    /// A parameter is unknown here and to the driver.
    #[error("unknown parameter `{0}`")]
    UnknownParameter(String),
    /// A parameter has an invalid value.
    #[error("parameter `{name}`: expected {expected}")]
    InvalidValue {
        /// The name of the parameter.
        name: &'static str,
        /// The values that are accepted.
        expected: &'static str,
    },
    /// The driver's error for the rest of the URL; its messages name options, never values.
    #[error("expected {FORM}: {0}")]
    Driver(String),
    /// An error in the certificates that the URL names.
    #[error(transparent)]
    Tls(#[from] DatabaseTlsError),
}

/// A parsed URL: the address of the server and the connection's options.
#[derive(Debug, Clone)]
pub(super) struct DatabaseUrl {
    /// The driver's settings: host, user, database and time-outs. Of TLS they hold the mode only.
    pub(super) driver: tokio_postgres::Config,
    pub(super) tls: TlsOptions,
    /// True if the URL indicates a transaction pooler.
    pub(super) is_pooled: bool,
    /// The search path for unqualified names, if the URL sets one.
    pub(super) search_path: Option<String>,
}

impl DatabaseUrl {
    /// Parses a connection URL.
    pub(super) fn parse(url: &str) -> Result<Self, UrlError> {
        let url = url.trim();
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|p| url.strip_prefix(p))
            .ok_or(UrlError::Malformed)?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        if authority.matches('@').count() > 1 || query.contains('@') {
            return Err(UrlError::UnescapedCharacter);
        }
        let mut own = ExtraParams::default();
        let mut passed = vec![DEFAULT_PARAMS.to_owned()];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, raw) = pair.split_once('=').ok_or(UrlError::Malformed)?;
            passed.extend(own.accept(name, raw)?);
        }
        let joined = format!("postgresql://{authority}?{}", passed.join("&"));
        own.into_url(
            joined
                .parse()
                .map_err(|e| UrlError::Driver(driver_reason(&e)))?,
        )
    }
}

/// The parameters that the driver does not know.
#[derive(Default)]
struct ExtraParams {
    mode: Option<TlsMode>,
    roots: Option<TrustedRoots>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    is_pooled: bool,
    search_path: Option<String>,
}

impl ExtraParams {
    /// Keeps a parameter that is not for the driver; returns any other in the driver's form.
    fn accept(&mut self, name: &str, raw: &str) -> Result<Option<String>, UrlError> {
        let value = percent_decode(raw)?;
        match name {
            "sslmode" => {
                self.mode = Some(TlsMode::parse(&value).ok_or(UrlError::InvalidValue {
                    name: "sslmode",
                    expected: TlsMode::NAMES,
                })?)
            }
            "sslrootcert" if value == "system" => self.roots = Some(TrustedRoots::System),
            "sslrootcert" => self.roots = Some(TrustedRoots::File(value.into())),
            "sslcert" => self.certificate = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            "pgbouncer" => self.is_pooled = value == "true" || value == "1",
            "schema" if value == "public" => {}
            "schema" => self.search_path = Some(super::quote::quote_ident(&value)),
            "search_path" => self.search_path = Some(value),
            "target_session_attrs" if value == "primary" => {
                return Ok(Some("target_session_attrs=read-write".to_owned()));
            }
            _ if DRIVER_PARAMS.contains(&name) => return Ok(Some(format!("{name}={raw}"))),
            _ if IGNORED_PARAMS.contains(&name.to_ascii_lowercase().as_str()) => {
                tracing::debug!(
                    parameter = name,
                    "a parameter of the database URL has no effect here"
                );
            }
            _ => return Err(unknown_parameter(name)),
        }
        Ok(None)
    }

    fn into_url(self, mut driver: tokio_postgres::Config) -> Result<DatabaseUrl, UrlError> {
        // For TLS, the driver takes the server's name from `host` alone.
        if driver.get_hosts().is_empty() {
            for address in driver.get_hostaddrs().to_vec() {
                driver.host(address.to_string());
            }
        }
        let hosts = driver.get_hosts();
        if hosts.is_empty()
            || hosts
                .iter()
                .any(|host| matches!(host, Host::Tcp(name) if name.is_empty()))
        {
            return Err(UrlError::NoHost);
        }
        let tls = self.tls_options(hosts.iter().all(|host| matches!(host, Host::Unix(_))))?;
        driver.ssl_mode(match tls.mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        let pooled = self.is_pooled || driver.get_ports().contains(&POOLER_PORT);
        Ok(DatabaseUrl {
            driver,
            tls,
            is_pooled: pooled,
            search_path: self.search_path,
        })
    }

    /// Applies libpq's rules. Unix sockets are never encrypted. With root certificates given,
    /// `require` verifies them. With the system's roots a mere `verify-ca` would be worthless, so
    /// it is refused.
    fn tls_options(&self, local: bool) -> Result<TlsOptions, UrlError> {
        let system = self.roots == Some(TrustedRoots::System);
        let mode = match self.mode {
            _ if local => TlsMode::Disable,
            None if system => TlsMode::VerifyFull,
            None => TlsMode::Prefer,
            Some(TlsMode::Disable | TlsMode::VerifyFull) if system => {
                self.mode.unwrap_or(TlsMode::VerifyFull)
            }
            Some(_) if system => {
                return Err(UrlError::InvalidValue {
                    name: "sslmode",
                    expected: "verify-full where sslrootcert=system",
                });
            }
            Some(TlsMode::Require) if self.roots.is_some() => TlsMode::VerifyCa,
            Some(mode) => mode,
        };
        let identity = match (self.certificate.clone(), self.key.clone()) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(UrlError::InvalidValue {
                    name: "sslcert",
                    expected: "sslcert and sslkey together",
                });
            }
        };
        Ok(TlsOptions {
            mode,
            roots: self.roots.clone().unwrap_or(TrustedRoots::System),
            identity,
        })
    }
}

/// Names a parameter only if it looks like one: after a stray `?` in a password, the rest of the
/// password would appear here.
fn unknown_parameter(name: &str) -> UrlError {
    let plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if plain {
        UrlError::UnknownParameter(name.to_owned())
    } else {
        UrlError::UnescapedCharacter
    }
}

fn driver_reason(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// Decodes percent-encoding; the result must be UTF-8.
fn percent_decode(raw: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            let (digits, tail) = rest
                .split_at_checked(2)
                .ok_or(UrlError::UnescapedCharacter)?;
            let digits = std::str::from_utf8(digits).map_err(|_| UrlError::UnescapedCharacter)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| UrlError::UnescapedCharacter)?);
            rest = tail;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).map_err(|_| UrlError::UnescapedCharacter)
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
