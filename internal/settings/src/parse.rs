//! Parsers for values that are not plain numbers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::tz::TimeZone;

/// Parses a duration such as `90s`, `15m`, `1h` or `7d`, from one second to ten years.
pub fn duration(text: &str) -> Option<Duration> {
    const MAX_S: u64 = 10 * 366 * 86_400;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_s: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = digits(number)?.checked_mul(unit_s)?;
    (1..=MAX_S)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

/// Parses digits only; `str::parse` would also accept a plus sign.
pub(crate) fn digits(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Parses a boolean: true/false, 1/0, yes/no or on/off, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Parses an IP address to listen on. Accepts `localhost` and brackets around IPv6.
pub(crate) fn ip_address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if bare.eq_ignore_ascii_case("localhost") {
        Some(Ipv4Addr::LOCALHOST.into())
    } else {
        bare.parse().ok()
    }
}

/// Parses the name of an IANA time zone and returns its canonical spelling.
pub fn time_zone(text: &str) -> Option<String> {
    Some(TimeZone::get(text).ok()?.iana_name()?.to_owned())
}

/// Splits a comma-separated list and drops empty entries.
pub fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, seconds) in [("1s", 1), ("15m", 900), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "1",
            "0s",
            "-1h",
            "+1h",
            "1.5h",
            "1 h",
            "1ñ",
            "99999999999999999999s",
            "4000d",
            "400000000000000000h",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_may_be_ipv6() {
        for (text, address_text) in [
            ("0.0.0.0", "0.0.0.0"),
            ("::", "::"),
            ("[::1]", "::1"),
            ("localhost", "127.0.0.1"),
        ] {
            assert_eq!(
                ip_address(text).map(|a| a.to_string()).as_deref(),
                Some(address_text)
            );
        }
        assert_eq!(
            ["", "example.com", "127.0.0.1:80", "1.2.3"].map(ip_address),
            [None; 4]
        );
    }

    #[test]
    fn time_zones_get_their_canonical_name() {
        assert_eq!(
            time_zone("america/guayaquil").as_deref(),
            Some("America/Guayaquil")
        );
        assert_eq!(
            [
                "",
                "Guayaquil",
                "UTC-5",
                "EST5EDT,M3.2.0,M11.1.0",
                "../etc/passwd"
            ]
            .map(time_zone),
            [const { None }; 5]
        );
    }
}
