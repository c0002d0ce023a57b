//! Ids of users and other objects, as clients send them in JSON. Pure.

use serde_json::Value;

/// The bounds of the integers that a number with a fraction may stand for, both excluded: a number
/// beyond them is rounded to the bound.
const INTEGER_BOUNDS: (f64, f64) = (-9_223_372_036_854_775_808.0, 18_446_744_073_709_551_616.0);

/// Converts an id to text: a string as it is, or the digits of an integer, which JSON may write
/// with a fraction of zero. Returns `None` for any other value. Each app then applies its own
/// limits.
pub fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::Number(number) => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
            let is_integer = INTEGER_BOUNDS.0 < float && float < INTEGER_BOUNDS.1;
            // Adding zero turns -0 into 0.
            is_integer.then(|| format!("{:.0}", float + 0.0))
        }
        _ => None,
    }
}

/// Returns `true` if the text has 1 to `max_bytes` bytes and no control character. PostgreSQL can't
/// store NUL in a text, and no id contains a line break.
pub fn is_id(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_strings_or_integers() {
        for (value, text) in [
            (json!("7"), "7"),
            (json!(7), "7"),
            (json!(-7), "-7"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(7.0), "7"),
            (json!(-0.0), "0"),
            (json!(i64::MIN), "-9223372036854775808"),
            (json!(1e18), "1000000000000000000"),
            (json!(""), ""),
            (json!(" a "), " a "),
        ] {
            assert_eq!(id_text(&value).as_deref(), Some(text));
        }
        for other in [
            json!(null),
            json!(1.5),
            json!(1e20),
            json!(-9.3e18),
            json!(-9_223_372_036_854_775_808.0),
            json!([7]),
            json!({}),
            json!(true),
        ] {
            assert_eq!(id_text(&other), None, "{other}");
        }
    }

    #[test]
    fn valid_ids_are_short_and_have_no_control_characters() {
        assert!(is_id("a b/ñ", 7) && is_id("x", 1));
        for bad in ["", "too long", "a\nb", "a\0", "\u{85}"] {
            assert!(!is_id(bad, 7), "{bad:?}");
        }
    }
}
