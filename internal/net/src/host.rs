//! Host names as a `Host` header or a URL writes them.

use std::net::IpAddr;

/// A host, as far as the server must tell them apart.
///
/// A DNS name other than `localhost` may resolve to any address, even to this machine's (DNS
/// rebinding). So only the first two kinds say where a request is bound for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// The name `localhost`, in any case.
    Localhost,
    /// An IP address. An IPv4 address mapped into IPv6 is its IPv4 address.
    Address(IpAddr),
    /// Another name.
    Name,
}

impl Host {
    /// Parses a host with an optional port. An IPv6 address must stand in brackets (RFC 3986,
    /// section 3.2.2). Returns `None` if the port is no port.
    pub fn parse(authority: &str) -> Option<Self> {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return None;
        }
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = match bracketed {
            Some(bare) => bare.parse().ok().map(IpAddr::V6),
            None => host.parse().ok().map(IpAddr::V4),
        };
        Some(match address {
            Some(address) => Self::Address(address.to_canonical()),
            None if host.eq_ignore_ascii_case("localhost") => Self::Localhost,
            None => Self::Name,
        })
    }

    /// Returns whether the host is this machine itself: `localhost` or a loopback address.
    pub fn is_loopback(self) -> bool {
        match self {
            Self::Localhost => true,
            Self::Address(address) => address.is_loopback(),
            Self::Name => false,
        }
    }

    /// Returns whether the host is no DNS name that others control: `localhost` or any address.
    pub fn is_literal(self) -> bool {
        self != Self::Name
    }
}

/// Returns whether this is a loopback address of IPv4 or IPv6, or an IPv4 one mapped into IPv6.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_loopback_host(text: &str) -> bool {
        Host::parse(text).is_some_and(Host::is_loopback)
    }

    #[test]
    fn local_host_names_are_recognised() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "latido.example",
            "localhost.example:80",
            "127.0.0.1.example",
            "0.0.0.0:1",
            "::1",
            "[127.0.0.1]:1",
            "localhost:",
            "192.168.1.7:8080",
            "localhost:80:80",
            "user@localhost",
            "localhost:http",
            "localhost:65536",
            "[::1",
            "::1]",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn addresses_are_literal_and_names_are_not() {
        let is_literal = |text| Host::parse(text).is_some_and(Host::is_literal);
        for host in [
            "localhost:8080",
            "192.168.1.7",
            "10.0.0.1:80",
            "[fd00::1]:80",
        ] {
            assert!(is_literal(host), "{host}");
        }
        for host in [
            "",
            "gateway.example",
            "gateway.example:80",
            "10.0.0.1:",
            "fd00::1",
        ] {
            assert!(!is_literal(host), "{host}");
        }
    }

    #[test]
    fn mapped_addresses_are_loopback() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:10.0.0.1", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn written_addresses_are_parsed(address: IpAddr, port: Option<u16>) {
            let host = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            let text = port.map_or(host.clone(), |port| format!("{host}:{port}"));
            prop_assert_eq!(Host::parse(&text), Some(Host::Address(address.to_canonical())));
        }

        #[test]
        fn any_text_is_parsed(text: String) {
            let _ = Host::parse(&text);
        }
    }
}
