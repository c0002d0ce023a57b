//! The parameters of connection URLs: which the driver knows, which are this module's own, and
//! which have no effect here.

use std::path::PathBuf;
use std::time::Duration;

use crate::quote::quote_ident;
use crate::tls::{TlsMode, TlsOptions, TrustedRoots};
use crate::url_error::UrlError;

/// The parameters that are passed to the driver.
const DRIVER_PARAMS: [&str; 16] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// The parameters of other libraries that have no effect here, in lower case.
const IGNORED_PARAMS: [&str; 43] = [
    "assumeminserverversion",
    "binary_parameters",
    "binarytransfer",
    "charset",
    "client_encoding",
    "connection_limit",
    "default_query_exec_mode",
    "description_cache_capacity",
    "encoding",
    "fallback_application_name",
    "gssencmode",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "max_connection_lifetime",
    "max_connections",
    "max_idle_connection_lifetime",
    "max_pool_size",
    "pool",
    "pool_max_conn_idle_time",
    "pool_max_conn_lifetime",
    "pool_max_conns",
    "pool_min_conns",
    "pool_size",
    "pool_timeout",
    "prepare",
    "prepared_statement_cache_size",
    "preparedstatementcachequeries",
    "preparethreshold",
    "query_timeout",
    "rewritebatchedinserts",
    "serverversion",
    "single_use_connections",
    "socket_timeout",
    "sockettimeout",
    "sslcompression",
    "statement_cache_capacity",
    "statement_cache_size",
    "stringtype",
    "supa",
    "tcpkeepalive",
    "timeout",
    "uselibpqcompat",
    "workaround",
];

/// The parameters that the driver does not know, or not with this meaning.
#[derive(Debug, Default)]
pub(super) struct ExtraParams {
    mode: Option<TlsMode>,
    /// The meaning of `ssl`, which `sslmode` overrides.
    ssl: Option<TlsMode>,
    is_strict: bool,
    roots: Option<TrustedRoots>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    sends_no_name: bool,
    pub(super) is_pooled: bool,
    pub(super) search_path: Option<String>,
    pub(super) statement_timeout: Option<Duration>,
    /// The hosts and ports, still percent-encoded, that replace those before the question mark.
    pub(super) hosts: Option<String>,
    pub(super) ports: Option<String>,
}

impl ExtraParams {
    /// Keeps a parameter that is not for the driver; returns any other in the driver's form.
    pub(super) fn accept(&mut self, name: &str, raw: &str) -> Result<Option<String>, UrlError> {
        let value = percent_decode(raw)?;
        match name {
            "host" => self.hosts = Some(raw.to_owned()),
            "port" => self.ports = Some(raw.to_owned()),
            "pgbouncer" => self.is_pooled = value == "true" || value == "1",
            "schema" if value == "public" => {}
            "schema" => self.search_path = Some(quote_ident(&value)),
            "search_path" | "currentSchema" => self.search_path = Some(value),
            "statement_timeout" => self.statement_timeout = parse_milliseconds(&value)?,
            "ApplicationName" => return Ok(Some(format!("application_name={raw}"))),
            "connectTimeout" | "loginTimeout" => return Ok(Some(format!("connect_timeout={raw}"))),
            "target_session_attrs" if value == "primary" => {
                return Ok(Some("target_session_attrs=read-write".to_owned()));
            }
            "targetServerType" => return target_server(&value),
            _ if DRIVER_PARAMS.contains(&name) => return Ok(Some(format!("{name}={raw}"))),
            _ if self.accept_tls(name, &value)? => {}
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

    /// Keeps a parameter that concerns TLS. Returns `false` for any other.
    fn accept_tls(&mut self, name: &str, value: &str) -> Result<bool, UrlError> {
        let unsupported = |name, instead| Err(UrlError::Unsupported { name, instead });
        match name {
            // node-postgres has another name for it.
            "sslmode" if value == "no-verify" => self.mode = Some(TlsMode::Require),
            "sslmode" => {
                let expected = TlsMode::NAMES;
                let mode = TlsMode::parse(value);
                self.mode = Some(mode.ok_or(UrlError::InvalidValue {
                    name: "sslmode",
                    expected,
                })?);
            }
            "ssl" => self.ssl = Some(parse_ssl(value)?),
            "sslrootcert" if value == "system" => self.roots = Some(TrustedRoots::System),
            "sslrootcert" => self.roots = Some(TrustedRoots::File(value.into())),
            "sslcert" => self.certificate = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            "sslsni" => self.sends_no_name = !parse_flag("sslsni", value)?,
            // Prisma's; its other value means that nothing is verified.
            "sslaccept" if value == "accept_invalid_certs" => {}
            "sslaccept" if value == "strict" => self.is_strict = true,
            "sslaccept" => {
                let expected = "strict or accept_invalid_certs";
                return Err(UrlError::InvalidValue {
                    name: "sslaccept",
                    expected,
                });
            }
            "sslidentity" => {
                return unsupported("sslidentity", "sslcert and sslkey, two files in PEM form");
            }
            "sslpassword" => return unsupported("sslpassword", "a key file without a password"),
            "sslcrl" | "sslcrldir" => {
                return unsupported("sslcrl", "no list of revoked certificates");
            }
            "passfile" | "service" => {
                return unsupported("passfile or service", "user and password in the URL");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Applies libpq's rules. Unix sockets are never encrypted. With root certificates given,
    /// `require` verifies them. With the system's roots a mere `verify-ca` would be worthless, so
    /// it is refused.
    pub(super) fn tls_options(&self, local: bool) -> Result<TlsOptions, UrlError> {
        let system = self.roots == Some(TrustedRoots::System);
        let wanted = if self.is_strict {
            Some(TlsMode::VerifyFull)
        } else {
            self.mode.or(self.ssl)
        };
        let mode = match wanted {
            _ if local => TlsMode::Disable,
            None if system => TlsMode::VerifyFull,
            None => TlsMode::Prefer,
            Some(mode @ (TlsMode::Disable | TlsMode::VerifyFull)) if system => mode,
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
                    expected: "sslcert and sslkey together (a root certificate goes into sslrootcert)",
                });
            }
        };
        Ok(TlsOptions {
            mode,
            roots: self.roots.clone().unwrap_or(TrustedRoots::System),
            identity,
            sends_server_name: !self.sends_no_name,
        })
    }
}

/// Parses `ssl`, which JDBC and libpq understand as `true`, and other libraries as a mode.
fn parse_ssl(value: &str) -> Result<TlsMode, UrlError> {
    match value {
        "true" | "1" | "no-verify" => Ok(TlsMode::Require),
        "false" | "0" => Ok(TlsMode::Disable),
        mode => TlsMode::parse(mode).ok_or(UrlError::InvalidValue {
            name: "ssl",
            expected: "true, false or a value of sslmode",
        }),
    }
}

fn parse_flag(name: &'static str, value: &str) -> Result<bool, UrlError> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(UrlError::InvalidValue {
            name,
            expected: "1 or 0",
        }),
    }
}

/// Parses a time-out in milliseconds. Zero means that the URL sets none.
fn parse_milliseconds(value: &str) -> Result<Option<Duration>, UrlError> {
    let text = value.strip_suffix("ms").unwrap_or(value);
    let ms = text.parse::<u64>().ok().filter(|ms| *ms <= 86_400_000);
    let ms = ms.ok_or(UrlError::InvalidValue {
        name: "statement_timeout",
        expected: "milliseconds, at most a day",
    })?;
    Ok((ms > 0).then(|| Duration::from_millis(ms)))
}

/// Returns the driver's parameter for JDBC's `targetServerType`.
fn target_server(value: &str) -> Result<Option<String>, UrlError> {
    match value {
        "any" => Ok(None),
        "primary" | "master" => Ok(Some("target_session_attrs=read-write".to_owned())),
        _ => Err(UrlError::InvalidValue {
            name: "targetServerType",
            expected: "primary or any",
        }),
    }
}

/// Names a parameter only if it looks like one: after a stray `?` in a password, the rest of the
/// password would appear here.
fn unknown_parameter(name: &str) -> UrlError {
    let plain = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    if plain {
        UrlError::UnknownParameter(name.to_owned())
    } else {
        UrlError::UnescapedCharacter
    }
}

/// Decodes percent-encoding; the result must be UTF-8.
pub(super) fn percent_decode(raw: &str) -> Result<String, UrlError> {
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
