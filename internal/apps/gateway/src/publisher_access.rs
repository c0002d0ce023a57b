//! The check whether a request comes from a publisher: by a key, or by the address.

use std::net::IpAddr;

use latido_http::AppRequest;
use latido_net::{Host, is_loopback};

use crate::shared::GatewayShared;

/// The headers that a proxy adds. With one of them, the peer address is the proxy's, not the
/// client's.
const PROXY_HEADERS: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

impl GatewayShared {
    /// Returns `true` if a request needs no further authorization: it has the key, or it comes
    /// directly from a trusted address and not from a foreign page in a browser.
    pub(super) fn is_trusted(&self, request: &AppRequest) -> bool {
        if self.api_keys.match_header_or_bearer(request) {
            return true;
        }
        let is_direct = PROXY_HEADERS
            .iter()
            .all(|name| request.header_bytes(name).is_none());
        let client = request
            .client
            .filter(|_| is_direct && is_same_origin(request));
        client.is_some_and(|client| self.is_trusted_address(client.ip(), request))
    }

    fn is_trusted_address(&self, address: IpAddr, request: &AppRequest) -> bool {
        // Any DNS name can point to this address (DNS rebinding), and a browser on this machine
        // would follow it; so the Host header must be a plain address or `localhost`.
        let is_local =
            is_loopback(address) && request.header("host").is_none_or(is_localhost_or_ip);
        is_local || self.config.trusted_networks.contains(address)
    }
}

/// Returns `true` unless a page of another origin sent the request: a browser sends such requests
/// from its user's address.
fn is_same_origin(request: &AppRequest) -> bool {
    let Some(origin) = request.header_bytes("origin") else {
        return true;
    };
    let own_host = request
        .header("host")
        .filter(|host| is_localhost_or_ip(host));
    own_host.is_some_and(|host| {
        origin == format!("http://{host}").as_bytes()
            || origin == format!("https://{host}").as_bytes()
    })
}

/// Returns `true` for `localhost` or an IP address, with or without a port.
fn is_localhost_or_ip(host: &str) -> bool {
    Host::parse(host).is_some_and(Host::is_literal)
}
