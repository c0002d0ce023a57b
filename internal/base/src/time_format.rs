//! Times as the wire writes them: RFC 3339 (ISO 8601) in UTC, with the suffix `Z`.

use jiff::Timestamp;

/// Formats a time with exactly three decimals, like JavaScript's `Date.prototype.toISOString`:
/// `2025-11-22T09:23:51.007Z`. Smaller units are cut off.
pub fn iso_millis(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Formats a time with as many decimals as it needs: `2009-02-13T23:31:30Z`,
/// `2009-02-13T23:31:30.5Z`.
pub fn iso(at: Timestamp) -> String {
    at.to_string()
}

/// Returns the time of a number of seconds since the Unix epoch. Numbers outside the calendar's
/// range (the years −9999 to 9999) become its first or last time.
pub fn from_unix_s(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_else(|_| nearest(seconds))
}

/// Returns the time of a number of milliseconds since the Unix epoch; see [`from_unix_s`].
pub fn from_unix_ms(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or_else(|_| nearest(milliseconds))
}

/// Returns the time of a number of microseconds since the Unix epoch; see [`from_unix_s`].
pub fn from_unix_us(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or_else(|_| nearest(microseconds))
}

fn nearest(since_epoch: i64) -> Timestamp {
    if since_epoch < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_with_milliseconds_are_formatted_as_in_javascript() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_763_803_431_007, "2025-11-22T09:23:51.007Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(iso_millis(from_unix_ms(ms)), expected);
        }
        assert_eq!(
            iso_millis(from_unix_us(1_999_999)),
            "1970-01-01T00:00:01.999Z"
        );
    }

    #[test]
    fn times_have_the_decimals_they_need() {
        assert_eq!(iso(from_unix_s(1_234_567_890)), "2009-02-13T23:31:30Z");
        for (us, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_500_000, "1970-01-01T00:00:01.5Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
        ] {
            assert_eq!(iso(from_unix_us(us)), expected);
        }
    }

    #[test]
    fn extreme_times_are_formatted() {
        for number in [i64::MIN, i64::MAX] {
            for at in [
                from_unix_s(number),
                from_unix_ms(number),
                from_unix_us(number),
            ] {
                assert!(iso_millis(at).ends_with('Z') && iso(at).ends_with('Z'));
            }
        }
    }

    proptest! {
        #[test]
        fn formatted_times_parse_back(us in -60_000_000_000_000_000_i64..60_000_000_000_000_000) {
            let at = from_unix_us(us);
            prop_assert_eq!(iso(at).parse::<Timestamp>().unwrap(), at);
            let shown: Timestamp = iso_millis(at).parse().unwrap();
            let hidden_us = at.as_microsecond() - shown.as_microsecond();
            prop_assert!((0..1000).contains(&hidden_us), "{} hides {} us", at, hidden_us);
        }
    }
}
