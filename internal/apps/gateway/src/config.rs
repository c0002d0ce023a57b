//! The gateway's settings and limits.

use std::net::IpAddr;
use std::time::Duration;

use latido_auth::ApiKey;

/// The settings of the gateway app.
#[derive(Debug, Clone)]
pub struct Config {
    /// The Django API's address without a path, such as `http://localhost:8000`. `None` only if
    /// clients are trusted.
    pub api_url: Option<String>,
    /// Set if profiles are requested with POST, which older APIs require.
    pub api_uses_post: bool,
    /// The time limit of one API request.
    pub api_timeout: Duration,
    /// The time for which a token that the API accepted stays cached.
    pub api_cache_ttl: Duration,
    /// The ids of the users who may be administrators, since the API knows no such role.
    pub admin_ids: Vec<String>,
    /// The key that publishers and readers of the dashboard present.
    pub api_key: Option<ApiKey>,
    /// The networks that need no key, in addition to loopback addresses.
    pub trusted_networks: Vec<PublisherNetwork>,
    /// Set if the identity that a client claims is accepted unchecked, except the administrator
    /// role.
    pub trusts_clients: bool,
    /// The time limit from a socket's connection to its authentication.
    pub auth_deadline: Duration,
    /// The number of failed authentication attempts after which the server closes a socket.
    pub max_auth_attempts: u32,
    /// The inactivity after which the server disconnects a client. `None` disables the limit.
    pub inactivity_limit: Option<Duration>,
    /// The interval between two checks for inactive clients.
    pub cleanup_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_url: None,
            api_uses_post: false,
            api_timeout: Duration::from_secs(10),
            api_cache_ttl: Duration::from_secs(60),
            admin_ids: Vec::new(),
            api_key: None,
            trusted_networks: Vec::new(),
            trusts_clients: false,
            auth_deadline: Duration::from_secs(10),
            max_auth_attempts: 5,
            inactivity_limit: Some(Duration::from_secs(60 * 60)),
            cleanup_interval: Duration::from_secs(5 * 60),
        }
    }
}

/// An IP network such as `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherNetwork {
    base_address: IpAddr,
    prefix_bits: u8,
}

impl PublisherNetwork {
    /// Parses an address with an optional prefix length. Returns `None` if the text is invalid.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let max_bits = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(max_bits), |bits| {
            bits.parse().ok().filter(|bits| *bits <= max_bits)
        })?;
        Some(Self {
            base_address: address,
            prefix_bits: bits,
        })
    }

    /// Returns `true` if the address is in this network. An IPv4-mapped IPv6 address counts as
    /// IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base_address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(other)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix_bits))
                    .unwrap_or(0);
                network.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(other)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix_bits))
                    .unwrap_or(0);
                network.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_match_their_addresses() {
        let has = |network: &str, address: &str| {
            PublisherNetwork::parse(network)
                .unwrap()
                .contains(address.parse().unwrap())
        };
        assert!(
            has("10.0.0.0/8", "10.255.1.2")
                && has("10.1.2.3", "10.1.2.3")
                && has("10.0.0.0/8", "::ffff:10.0.0.1")
        );
        assert!(has("fd00::/8", "fd12::1") && has("0.0.0.0/0", "8.8.8.8"));
        assert!(
            !has("10.0.0.0/8", "11.0.0.1")
                && !has("10.1.2.3", "10.1.2.4")
                && !has("0.0.0.0/0", "::1")
                && !has("fd00::/8", "fe00::1")
        );
        for invalid in ["", "10.0.0", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/-1"] {
            assert_eq!(PublisherNetwork::parse(invalid), None, "{invalid}");
        }
    }
}
