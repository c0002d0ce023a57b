//! Lists of IP networks, as settings write them.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// The bits in front of an IPv4 address that is mapped into IPv6 (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A set of addresses: all that belong to one of the listed networks.
///
/// An IPv4 address counts the same whether or not it is mapped into IPv6 (`::ffff:10.0.0.1`), both
/// in the list and as a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// The error for text that is no list of addresses and networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected addresses or networks such as 10.0.0.0/8 or ::1, separated by commas")]
pub struct InvalidNetworks;

impl Networks {
    /// Returns whether the address belongs to one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns whether one of the networks has every address of its kind (`0.0.0.0/0`).
    pub fn has_everyone(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }

    /// Returns whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Parses a comma-separated list. Blanks and empty entries are ignored.
impl FromStr for Networks {
    type Err = InvalidNetworks;

    fn from_str(text: &str) -> Result<Self, InvalidNetworks> {
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        entries
            .map(|entry| parse_network(entry).ok_or(InvalidNetworks))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Maps an address to the key it is limited by. One IPv6 client controls a whole /64, so its prefix
/// counts as one address.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Parses an address with an optional prefix length. The address may have bits after the prefix.
///
/// The prefix of a mapped address counts the bits of its IPv4 address (0 to 32) or of the whole
/// (96 to 128).
fn parse_network(text: &str) -> Option<IpNet> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.trim().parse::<u8>().ok()?)),
        None => (text, None),
    };
    let written: IpAddr = address.trim().parse().ok()?;
    let address = written.to_canonical();
    let max_bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => max_bits,
        Some(prefix) if prefix > max_bits && written != address => {
            prefix.checked_sub(MAPPED_BITS)?
        }
        Some(prefix) => prefix,
    };
    IpNet::new(address, prefix).ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn contains(networks: &str, address: &str) -> bool {
        networks
            .parse::<Networks>()
            .unwrap()
            .contains(address.parse().unwrap())
    }

    #[test]
    fn network_prefix_length_is_respected() {
        assert!(contains("192.168.4.0/22", "192.168.7.255"));
        assert!(!contains("192.168.4.0/22", "192.168.8.0"));
        assert!(contains("10.0.0.0/8", "10.255.1.2"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.9.9.9/8", "10.1.1.1"), "bits after the prefix");
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe00::1"));
        assert!(contains("0.0.0.0/0", "9.9.9.9") && !contains("0.0.0.0/0", "::9"));
        assert!(contains("::/0", "::9") && !contains("::/0", "9.9.9.9"));
    }

    #[test]
    fn single_addresses_match_themselves() {
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.4"));
        assert!(contains("::1", "::1") && !contains("::1", "::2"));
    }

    #[test]
    fn mapped_addresses_count_as_ipv4() {
        assert!(contains("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(!contains("0.0.0.0/0", "::1"));
        for network in [
            "::ffff:10.0.0.0/8",
            "::ffff:10.0.0.0/104",
            "::ffff:a00:0/104",
        ] {
            assert!(contains(network, "10.1.2.3") && !contains(network, "11.0.0.1"));
        }
        assert!(contains("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(contains("::ffff:0.0.0.0/96", "8.8.8.8"));
    }

    #[test]
    fn lists_may_have_blanks_and_empty_entries() {
        for list in ["10.0.0.0/8, ::1,2001:db8::/32", " ,10.0.0.0 / 8,,::1 ,"] {
            assert!(contains(list, "10.1.2.3") && contains(list, "::1"));
        }
        for empty in ["", " ", ","] {
            assert!(empty.parse::<Networks>().unwrap().is_empty());
        }
    }

    #[test]
    fn network_of_everyone_is_noticed() {
        for (list, expected) in [
            ("10.0.0.0/8,0.0.0.0/0", true),
            ("::/0", true),
            ("::ffff:0.0.0.0/96", true),
            ("10.0.0.0/8,::1", false),
            ("", false),
        ] {
            let networks: Networks = list.parse().unwrap();
            assert_eq!(networks.has_everyone(), expected, "{list}");
        }
    }

    #[test]
    fn invalid_networks_are_rejected() {
        for invalid in [
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0/8",
            "x",
            "a/8",
            "::/129",
            "10.0.0.1/-1",
            "::ffff:10.0.0.0/33",
            "::ffff:10.0.0.0/129",
            "proxy.example",
            "10.0.0.1,x",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(
                invalid.parse::<Networks>(),
                Err(InvalidNetworks),
                "{invalid}"
            );
        }
    }

    proptest! {
        /// Membership is equality of the first bits.
        #[test]
        fn network_contains_the_addresses_with_its_first_bits(
            base: u32, address: u32, prefix in 0_u32..=32,
        ) {
            let networks: Networks = format!("{}/{prefix}", Ipv4Addr::from(base)).parse().unwrap();
            let expected = (base ^ address).leading_zeros() >= prefix;
            let address = Ipv4Addr::from(address);
            prop_assert_eq!(networks.contains(address.into()), expected);
            prop_assert_eq!(networks.contains(address.to_ipv6_mapped().into()), expected);
        }

        #[test]
        fn any_text_is_parsed_or_rejected(text: String) {
            let _ = text.parse::<Networks>();
        }
    }
}
