//! The client for requests to the issuer: https, or plain http on this machine only.

use std::time::Duration;

use reqwest::{Client, Url};

use crate::KeyError;
use latido_net::{Host, HttpsClientOptions, https_client};

/// The deadline for a whole response.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks that `url` is acceptable for requests to the issuer.
pub fn check_url(url: &str) -> Result<(), KeyError> {
    parse_url(url).map(drop)
}

pub(super) fn parse_url(url: &str) -> Result<Url, KeyError> {
    let url = Url::parse(url).map_err(|_| KeyError::IssuerUrl)?;
    let host = url
        .host_str()
        .and_then(Host::parse)
        .ok_or(KeyError::IssuerUrl)?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && host.is_loopback());
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    if is_safe && !has_credentials {
        Ok(url)
    } else {
        Err(KeyError::IssuerUrl)
    }
}

/// Creates a client for that URL's host, with at most `max_idle` idle connections.
pub(super) fn build_client(url: &Url, max_idle: usize) -> Result<Client, KeyError> {
    let options = HttpsClientOptions {
        timeout: RESPONSE_TIMEOUT,
        max_idle,
        user_agent: None,
    };
    https_client(url, options).map_err(|_| KeyError::RootCertificates)
}
