//! Where a client comes from, where proxies stand between: what they say counts only if the operator trusts them, and only as far.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use warp::http::HeaderMap;
use warp::http::header::HeaderName;

use crate::http::call::joined;

/// What proxies add the address of who called them to.
pub(super) const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

/// The text is no list of addresses and networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected addresses or networks such as 10.0.0.0/8 or ::1, separated by commas")]
pub struct InvalidProxies;

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    base: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text
            .split_once('/')
            .map_or((text, None), |(base, bits)| (base, Some(bits)));
        let base = base.trim().parse::<IpAddr>().ok()?.to_canonical();
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.trim().parse().ok())?;
        (bits <= most).then_some(Self { base, bits })
    }

    fn holds(self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let other = base.to_bits() ^ address.to_bits();
                other.leading_zeros() >= self.bits
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let other = base.to_bits() ^ address.to_bits();
                other.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

impl FromStr for Proxies {
    type Err = InvalidProxies;

    fn from_str(text: &str) -> Result<Self, InvalidProxies> {
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        entries
            .map(|entry| Network::parse(entry).ok_or(InvalidProxies))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Proxies {
    /// Whether this is one of them.
    pub(super) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }

    /// Who is behind a request: the connection's other end, unless that is a proxy that says more. The port is the connection's.
    pub(super) fn caller(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        SocketAddr::new(
            self.client(peer.ip(), &joined(headers, FORWARDED)),
            peer.port(),
        )
    }

    /// Who called the proxy `peer`: the rightmost address that no trusted proxy has. What stands left of it was said by strangers. Where
    /// the header is missing or broken, the last proxy that could be made out.
    pub(super) fn client(&self, peer: IpAddr, forwarded: &str) -> IpAddr {
        let mut client = peer;
        for entry in forwarded.rsplit(',') {
            if !self.trust(client) {
                break;
            }
            let Some(address) = address(entry.trim()) else {
                break;
            };
            client = address;
        }
        client
    }
}

/// An address as proxies write it: some with a port, IPv6 then in brackets.
fn address(text: &str) -> Option<IpAddr> {
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
        let proxies: Proxies = proxies.parse().unwrap();
        proxies.client(peer.parse().unwrap(), forwarded).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_configured() {
        assert_eq!(client("", "127.0.0.1", "1.1.1.1"), "127.0.0.1");
        assert_eq!(client("10.0.0.0/8", "11.0.0.1", "1.1.1.1"), "11.0.0.1");
    }

    #[test]
    fn the_rightmost_stranger_is_the_client() {
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
    fn a_broken_header_says_nothing() {
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

    #[test]
    fn networks_have_as_many_bits_as_they_say() {
        let inside = |network: &str, address: &str| {
            network
                .parse::<Proxies>()
                .unwrap()
                .trust(address.parse().unwrap())
        };
        assert!(
            inside("192.168.4.0/22", "192.168.7.255") && !inside("192.168.4.0/22", "192.168.8.0")
        );
        assert!(
            inside("0.0.0.0/0", "9.9.9.9") && !inside("0.0.0.0/0", "::9") && inside("::/0", "::9")
        );
        assert!(inside("10.0.0.1", "10.0.0.1") && !inside("10.0.0.1", "10.0.0.2"));
        for bad in [
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0/8",
            "x",
            "::/129",
            "10.0.0.1/-1",
            "proxy.example",
        ] {
            assert_eq!(bad.parse::<Proxies>(), Err(InvalidProxies), "{bad}");
        }
    }
}
