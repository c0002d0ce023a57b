//! The check whether a request comes from a publisher: by its key, or by its network.

use latido_app_kit::PresentedKey;
use latido_http::AppRequest;
use latido_net::{Host, is_loopback};

use crate::shared::GatewayShared;

/// The headers that a proxy adds. With one of them, the peer address may be the proxy's and not the
/// client's.
const PROXY_HEADERS: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

impl GatewayShared {
    /// Returns `true` if a request needs no further authorization: it has the key, or it has none
    /// and comes from a network that the operator trusts. A wrong key is refused everywhere.
    pub(super) fn is_trusted(&self, request: &AppRequest) -> bool {
        match self.api_keys.check_header_or_bearer(request) {
            PresentedKey::Valid => true,
            PresentedKey::Wrong => false,
            PresentedKey::Missing => self.is_from_trusted_network(request),
        }
    }

    /// Returns `true` if a listed network contains the client. Requests of a foreign page in a
    /// browser there, and requests that a proxy there forwards by its own account, do not count.
    fn is_from_trusted_network(&self, request: &AppRequest) -> bool {
        let Some(client) = request.client.map(|client| client.ip()) else {
            return false;
        };
        let is_forwarded = PROXY_HEADERS
            .iter()
            .any(|name| request.header_bytes(name).is_some());
        // Any DNS name can point to this machine (DNS rebinding), and a browser here would follow
        // it; so the Host header must be a plain address or `localhost`.
        let is_rebound =
            is_loopback(client) && !request.header("host").is_none_or(is_localhost_or_ip);
        self.config.trusted_networks.contains(client)
            && !is_forwarded
            && !is_rebound
            && is_same_origin(request)
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
