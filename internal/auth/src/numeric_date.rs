//! `NumericDate` of RFC 7519: seconds since 1970, with or without a fraction.

use serde_json::Value;

/// The accepted difference between the issuer's clock and this server's, in seconds.
pub const LEEWAY_S: i64 = 5;
/// The last second of the year 9999. A larger value is a mistake: milliseconds, or a disguised
/// «never».
const MAX_S: i64 = 253_402_300_799;

/// The text of the error for a claim that is no date.
pub(super) const EXPECTED: &str = "a number of seconds since 1970, up to the year 9999";

/// The rounding of a fraction of a second, always to the side that shortens a token's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Rounds down, for the end of a token's life.
    Down,
    /// Rounds up, for the start of a token's life.
    Up,
}

/// Returns the whole seconds of a date from 1970 to 9999, or `None` for any other value.
pub(super) fn parse(value: &Value, rounding: Rounding) -> Option<i64> {
    let Value::Number(number) = value else {
        return None;
    };
    let seconds = match number.as_i64() {
        Some(seconds) => seconds,
        None => round(number.as_f64()?, rounding)?,
    };
    (0..=MAX_S).contains(&seconds).then_some(seconds)
}

/// Rounds a float to whole seconds. Every whole number in the range tested here is exact in a
/// float.
fn round(seconds: f64, rounding: Rounding) -> Option<i64> {
    let rounded = match rounding {
        Rounding::Down => seconds.floor(),
        Rounding::Up => seconds.ceil(),
    };
    // Comparing first keeps infinities, NaN and values out of range out of the cast.
    (0.0..=MAX_S as f64)
        .contains(&rounded)
        .then_some(rounded as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_and_floats_are_dates() {
        for (value, down, up) in [
            (json!(0), 0, 0),
            (json!(1.0), 1, 1),
            (json!(1.5), 1, 2),
            (json!(1e3), 1000, 1000),
            (json!(MAX_S), MAX_S, MAX_S),
        ] {
            assert_eq!(parse(&value, Rounding::Down), Some(down), "{value}");
            assert_eq!(parse(&value, Rounding::Up), Some(up), "{value}");
        }
    }

    #[test]
    fn other_values_are_rejected() {
        let wrong = [
            json!("123"),
            json!(null),
            json!(true),
            json!([1]),
            json!({"s": 1}),
            json!(-1),
            json!(-0.5),
            json!(MAX_S + 1),
        ];
        for value in
            wrong
                .into_iter()
                .chain([json!(1_700_000_000_000_i64), json!(1e300), json!(u64::MAX)])
        {
            assert_eq!(parse(&value, Rounding::Down), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn rounding_never_extends_a_token(seconds in 0.0..1e11_f64) {
            let value = json!(seconds);
            prop_assert!(parse(&value, Rounding::Down).unwrap() as f64 <= seconds);
            prop_assert!(parse(&value, Rounding::Up).unwrap() as f64 >= seconds);
        }
    }
}
