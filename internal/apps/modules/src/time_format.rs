//! Formats times as the wire protocol requires them.

use jiff::tz::TimeZone;
use latido_base::time_format::{from_unix_ms, iso_millis};

/// Milliseconds since the Unix epoch.
pub(super) type Millis = i64;

/// The text for a module that was never seen («never» in French).
const NEVER_SEEN: &str = "Jamais";

/// Formats RFC 3339 in UTC with milliseconds, like `Date.prototype.toISOString`.
pub(super) fn to_iso_string(at: Millis) -> String {
    iso_millis(from_unix_ms(at))
}

/// Formats a time in the zone like `Date.prototype.toLocaleString('fr-FR')`.
pub(super) fn to_french_string(at: Option<Millis>, zone: &TimeZone) -> String {
    let Some(at) = at else {
        return NEVER_SEEN.to_owned();
    };
    from_unix_ms(at)
        .to_zoned(zone.clone())
        .strftime("%d/%m/%Y %H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_as_in_javascript() {
        let paris = TimeZone::get("Europe/Paris").unwrap();
        assert_eq!(
            to_french_string(Some(1_763_803_431_007), &paris),
            "22/11/2025 10:23:51"
        );
        assert_eq!(
            to_french_string(Some(1_751_328_000_000), &paris),
            "01/07/2025 02:00:00",
            "summer time"
        );
        assert_eq!(to_french_string(None, &paris), "Jamais");
    }

    #[test]
    fn extreme_local_times_are_formatted() {
        for at in [i64::MIN, i64::MAX] {
            assert!(!to_french_string(Some(at), &TimeZone::UTC).is_empty());
        }
    }
}
