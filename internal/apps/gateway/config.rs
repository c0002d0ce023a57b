//! The gateway's settings and limits.

use std::net::IpAddr;
use std::time::Duration;

use crate::auth::ApiKey;

/// See each field.
#[derive(Debug, Clone)]
pub struct Config {
    /// The Django API, without a path: `http://localhost:8000`. None only where clients are trusted.
    pub api_url: Option<String>,
    /// Whether the API is asked with POST, as older ones want it.
    pub api_posts: bool,
    /// How long the API may take.
    pub api_timeout: Duration,
    /// How long its good word about a token counts.
    pub api_cache: Duration,
    /// Who may be an administrator: ids of users, since the API knows no such role.
    pub admin_ids: Vec<String>,
    /// What publishers, and readers of the dashboard, present.
    pub api_key: Option<ApiKey>,
    /// Who need not, beside loopback.
    pub trusted: Vec<Network>,
    /// Believes what clients say of themselves, except that they are administrators.
    pub trusts_clients: bool,
    /// From a socket's connection until it is identified.
    pub auth_deadline: Duration,
    /// Refused attempts to authenticate, until a socket is ended.
    pub auth_attempts: u32,
    /// A client that is inactive for so long is dismissed. None: never.
    pub inactive: Option<Duration>,
    /// How often clients are looked at for that.
    pub cleanup: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_url: None,
            api_posts: false,
            api_timeout: Duration::from_secs(10),
            api_cache: Duration::from_secs(60),
            admin_ids: Vec::new(),
            api_key: None,
            trusted: Vec::new(),
            trusts_clients: false,
            auth_deadline: Duration::from_secs(10),
            auth_attempts: 5,
            inactive: Some(Duration::from_secs(60 * 60)),
            cleanup: Duration::from_secs(5 * 60),
        }
    }
}

/// Addresses with a common beginning: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads one; none if it is no network.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| {
            bits.parse().ok().filter(|bits| *bits <= most)
        })?;
        Some(Self { address, bits })
    }

    /// Whether an address is in it. An IPv4 address may be written as IPv6.
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                ours.to_bits() & mask == theirs.to_bits() & mask
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                ours.to_bits() & mask == theirs.to_bits() & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let has = |network: &str, address: &str| {
            Network::parse(network)
                .unwrap()
                .has(address.parse().unwrap())
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
        for no in ["", "10.0.0", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(no), None, "{no}");
        }
    }
}
