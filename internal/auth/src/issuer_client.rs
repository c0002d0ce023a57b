//! The HTTP client for requests to the issuer: https (or this machine) only, no redirects, with
//! deadlines and size limits.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, Url, redirect};

use crate::KeyError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The deadline for a whole response.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks that `url` is acceptable for requests to the issuer.
pub fn check_url(url: &str) -> Result<(), KeyError> {
    parse_url(url).map(drop)
}

pub(super) fn parse_url(url: &str) -> Result<Url, KeyError> {
    let url = Url::parse(url).map_err(|_| KeyError::IssuerUrl)?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.host_str().is_some();
    if is_safe && is_plain {
        Ok(url)
    } else {
        Err(KeyError::IssuerUrl)
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Creates a client for that URL's host, with at most `idle` idle connections.
pub(super) fn build_client(url: &Url, idle: usize) -> Result<Client, KeyError> {
    let is_loopback = is_loopback(url);
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(RESPONSE_TIMEOUT)
        .pool_max_idle_per_host(idle)
        .https_only(url.scheme() == "https")
        .tls_backend_preconfigured(tls_config(url.scheme() == "https")?);
    if is_loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|_| KeyError::RootCertificates)
}

/// Builds a rustls configuration on ring with the machine's own root certificates.
fn tls_config(needs_roots: bool) -> Result<rustls::ClientConfig, KeyError> {
    let mut roots = rustls::RootCertStore::empty();
    if needs_roots {
        let (found, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if found == 0 {
            return Err(KeyError::RootCertificates);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|_| KeyError::RootCertificates)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Reads the response's body. Returns `None` if it is longer than `max_bytes`.
pub(super) async fn read_body(
    mut response: Response,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_bytes {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Formats an error with its causes, because reqwest's own text lacks them.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut causes: Vec<_> = std::iter::successors(Some(error), |e| e.source())
        .map(ToString::to_string)
        .collect();
    causes.dedup();
    causes.join(": ")
}
