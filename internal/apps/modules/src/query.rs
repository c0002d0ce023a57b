//! Reads fields of a request's query string. Pure.

use percent_encoding::percent_decode_str;

/// Returns the first value of this name, percent-decoded.
pub(super) fn value(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(
        percent_decode_str(&value.replace('+', " "))
            .decode_utf8()
            .ok()?
            .into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        assert_eq!(
            value("EIO=4&token=a%2Eb+c&x", "token").as_deref(),
            Some("a.b c")
        );
        assert_eq!(value("EIO=4", "token"), None);
        assert_eq!(value("token=%ff", "token"), None);
    }
}
