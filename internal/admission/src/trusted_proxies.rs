//! The client's address behind proxies. `X-Forwarded-For` counts only as far as its proxies are
//! trusted by the operator.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use http::header::HeaderName;

use crate::headers::joined_header;
use latido_net::{InvalidNetworks, Networks};

/// The header to which each proxy appends the address of its client.
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies whose `X-Forwarded-For` is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Networks);

impl FromStr for TrustedProxies {
    type Err = InvalidNetworks;

    fn from_str(text: &str) -> Result<Self, InvalidNetworks> {
        text.parse().map(Self)
    }
}

impl TrustedProxies {
    /// Returns whether this is the address of a trusted proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Returns whether every address of some kind counts as a trusted proxy.
    pub fn trusts_everyone(&self) -> bool {
        self.0.has_everyone()
    }

    /// Returns the client's address: the connection's remote address, or the one that a trusted
    /// proxy names. The port is the connection's.
    pub fn client_addr(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        SocketAddr::new(
            self.client_ip(peer.ip(), &joined_header(headers, X_FORWARDED_FOR)),
            peer.port(),
        )
    }

    /// Returns the address of the proxy's client: the rightmost one that is no trusted proxy's.
    /// Entries left of it come from untrusted senders. If the header is missing or broken, returns
    /// the last proxy that could be identified.
    pub fn client_ip(&self, peer: IpAddr, forwarded: &str) -> IpAddr {
        let mut client = peer;
        for entry in forwarded.rsplit(',') {
            if !self.trusts(client) {
                break;
            }
            let Some(address) = parse_address(entry.trim()) else {
                break;
            };
            client = address;
        }
        client
    }
}

/// Parses an address as proxies write it: some add a port, with IPv6 then in brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse().ok().or_else(|| {
        text.parse::<SocketAddr>()
            .ok()
            .map(|with_port| with_port.ip())
    })?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &str, peer: &str, forwarded: &str) -> String {
        let proxies: TrustedProxies = proxies.parse().unwrap();
        proxies
            .client_ip(peer.parse().unwrap(), forwarded)
            .to_string()
    }

    #[test]
    fn header_is_ignored_unless_the_proxy_is_trusted() {
        assert_eq!(client("", "127.0.0.1", "1.1.1.1"), "127.0.0.1");
        assert_eq!(client("10.0.0.0/8", "11.0.0.1", "1.1.1.1"), "11.0.0.1");
    }

    #[test]
    fn rightmost_untrusted_address_is_the_client() {
        let trusted = "10.0.0.0/8, ::1,2001:db8::/32";
        assert_eq!(client(trusted, "10.1.2.3", "1.1.1.1"), "1.1.1.1");
        assert_eq!(
            client(trusted, "10.1.2.3", "6.6.6.6, 1.1.1.1, 10.9.9.9"),
            "1.1.1.1",
            "what it says of itself is left of it"
        );
        assert_eq!(
            client(trusted, "::ffff:10.1.2.3", "1.1.1.1:1234"),
            "1.1.1.1"
        );
        assert_eq!(
            client(trusted, "::1", "[2001:db9::7]:80, 2001:db8::1"),
            "2001:db9::7"
        );
        assert_eq!(
            client(trusted, "10.1.2.3", "10.0.0.1,10.0.0.2"),
            "10.0.0.1",
            "all are ours"
        );
    }

    #[test]
    fn malformed_header_is_ignored() {
        for broken in [
            "",
            " ",
            "unknown",
            "1.1.1.1, _hidden",
            "1.1.1.1,,",
            "1.1.1.1.1",
        ] {
            assert_eq!(
                client("10.0.0.0/8", "10.1.2.3", broken),
                "10.1.2.3",
                "{broken}"
            );
        }
    }
}
