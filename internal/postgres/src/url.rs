//! Connection URLs in common use: those of libpq, with the parameters that ORMs and poolers add.
//! Pure.
//!
//! The driver knows three TLS modes and refuses unknown parameters, so the additional parameters
//! are removed first.

use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

use crate::tls::{TlsMode, TlsOptions};
use crate::url_error::UrlError;
use crate::url_params::{ExtraParams, percent_decode};

/// The port of the transaction pooler of Supabase and other providers.
const POOLER_PORT: u16 = 6543;

/// The default time-outs. A dead connection is detected after 5 s of silence and 3 probes 2 s
/// apart, or 6 s after sending: see appendix §7. They come first, so that the same parameters in
/// the URL override them.
const DEFAULT_PARAMS: &str =
    "keepalives_idle=5&keepalives_interval=2&keepalives_retries=3&tcp_user_timeout=6";

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
    /// The time-out of a statement, if the URL sets one.
    pub(super) statement_timeout: Option<Duration>,
}

impl DatabaseUrl {
    /// Parses a connection URL. Returns all mistakes in its parameters together.
    pub(super) fn parse(url: &str) -> Result<Self, Vec<UrlError>> {
        let one = |error| vec![error];
        let url = url.trim();
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|p| url.strip_prefix(p))
            .ok_or(UrlError::Malformed)
            .map_err(one)?;
        if rest.contains(char::is_whitespace) {
            return Err(one(UrlError::Malformed));
        }
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let address = Address::parse(authority, query).map_err(one)?;
        let (mut own, mut mistakes) = (ExtraParams::default(), Vec::new());
        let mut passed = vec![DEFAULT_PARAMS.to_owned()];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let accepted = match pair.split_once('=') {
                Some((name, raw)) => own.accept(name, raw),
                None => Err(UrlError::Malformed),
            };
            match accepted {
                Ok(parameter) => passed.extend(parameter),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let driver = address.with_params(&own, passed).parse();
        let driver = driver.map_err(|error| UrlError::Driver(driver_reason(&error)));
        match driver.and_then(|driver| own.into_url(driver)) {
            Ok(url) if mistakes.is_empty() => Ok(url),
            Ok(_) => Err(mistakes),
            Err(mistake) => {
                mistakes.push(mistake);
                Err(mistakes)
            }
        }
    }
}

/// What stands before the question mark.
struct Address<'a> {
    /// The user and password, with the `@` after them.
    user: &'a str,
    hosts: &'a str,
    /// The database, with the `/` before it.
    database: &'a str,
}

impl<'a> Address<'a> {
    fn parse(authority: &'a str, query: &str) -> Result<Self, UrlError> {
        if authority.matches('@').count() > 1 || query.contains('@') {
            return Err(UrlError::UnescapedCharacter);
        }
        let (user, place) = authority.split_at(authority.find('@').map_or(0, |at| at + 1));
        let (hosts, database) = place.split_at(place.find('/').unwrap_or(place.len()));
        // A `/` in the password ends the address too early.
        if user.contains('/') {
            return Err(UrlError::UnescapedCharacter);
        }
        percent_decode(user)?;
        percent_decode(database)?;
        Ok(Self {
            user,
            hosts,
            database,
        })
    }

    /// Returns the URL for the driver. As in libpq, `host` and `port` replace the address before
    /// the question mark; the driver would add to it.
    fn with_params(&self, own: &ExtraParams, mut passed: Vec<String>) -> String {
        let mut hosts = self.hosts.to_owned();
        if own.hosts.is_some() || own.ports.is_some() {
            let (names, ports): (Vec<_>, Vec<_>) = self.hosts.split(',').map(split_port).unzip();
            match (&own.hosts, &own.ports) {
                // The driver gives each host before the question mark a port, so they go there.
                (None, Some(ports)) => hosts = join_ports(&names, ports),
                (_, Some(ports)) => passed.push(format!("port={ports}")),
                (_, None) if ports.iter().any(|port| !port.is_empty()) => {
                    passed.push(format!("port={}", ports.join(",")));
                }
                (_, None) => {}
            }
        }
        if let Some(named) = &own.hosts {
            passed.push(format!("host={named}"));
            hosts.clear();
        }
        format!(
            "postgresql://{}{hosts}{}?{}",
            self.user,
            self.database,
            passed.join("&")
        )
    }
}

/// Splits `host:port`; an IPv6 address stands in brackets.
fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    }
}

/// Gives each host its port: one for all, or one for each.
fn join_ports(names: &[&str], ports: &str) -> String {
    let ports: Vec<_> = ports.split(',').collect();
    let last = ports.last().copied().unwrap_or_default();
    let joined: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| format!("{name}:{}", ports.get(n).unwrap_or(&last)))
        .collect();
    joined.join(",")
}

impl ExtraParams {
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
            statement_timeout: self.statement_timeout,
        })
    }
}

fn driver_reason(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
