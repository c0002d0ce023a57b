//! Values of a query string (`a=1&b=2`, without the question mark) and of path segments.
//!
//! The rule of a query: pairs are separated by `&`, and the first pair that has the name and a value that is
//! not empty counts. Names and values are decoded as forms write them (URL standard, section 5.1):
//! `+` is a blank, and `%41` is `A`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The character that decoding puts in the place of bytes that are not UTF-8.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Returns the first value of this name that is not empty, decoded. Returns `None` if there is none
/// or if it is not UTF-8.
pub fn value(query: &str, name: &str) -> Option<String> {
    let (_, value) = form_urlencoded::parse(query.as_bytes())
        .find(|(key, value)| key == name && !value.is_empty())?;
    (!value.contains(REPLACEMENT)).then(|| value.into_owned())
}

/// Returns all values of this name that are UTF-8, decoded and in order, the empty ones too. For a
/// protocol in which two parties use one name.
pub fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    form_urlencoded::parse(query.as_bytes())
        .filter(move |(key, value)| key == name && !value.contains(REPLACEMENT))
        .map(|(_, value)| value.into_owned())
}

/// Returns the names and values that are UTF-8, decoded and in order, without those whose value is
/// empty.
pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(query.as_bytes())
        .filter(|(name, value)| {
            !value.is_empty() && !name.contains(REPLACEMENT) && !value.contains(REPLACEMENT)
        })
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
}

/// Returns the first value of this name exactly as it was written, even if it is empty. Returns
/// `None` for a name without `=`.
///
/// For names and values that never need encoding, such as those of Engine.IO, whose server compares
/// them undecoded.
pub fn raw_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Returns a query as it was written, without the pairs of this name.
pub fn without(query: &str, name: &str) -> String {
    let is_other = |pair: &&str| {
        form_urlencoded::parse(pair.as_bytes())
            .next()
            .is_none_or(|(key, _)| key != name)
    };
    let others: Vec<_> = query.split('&').filter(is_other).collect();
    others.join("&")
}

/// Percent-decodes a path segment. Returns `None` if it is not UTF-8.
pub fn decode_segment(raw: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(raw).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_decoded() {
        assert_eq!(
            value("EIO=4&token=a%2Eb+c&x", "token").as_deref(),
            Some("a.b c")
        );
        assert_eq!(value("x=1&to%6Ben=c", "token").as_deref(), Some("c"));
        assert_eq!(
            value("x=1&token=c%2Ec.c&token=d", "token").as_deref(),
            Some("c.c.c"),
            "the first counts"
        );
        assert_eq!(value("token=&token=d", "token").as_deref(), Some("d"));
    }

    #[test]
    fn all_values_of_a_name_are_found() {
        let all = |query| values(query, "token").collect::<Vec<_>>();
        assert_eq!(
            all("token=a%2Eb&x=1&token=&token=%ff&to%6Ben=c"),
            ["a.b", "", "c"]
        );
        assert!(all("tokens=a&").is_empty());
    }

    #[test]
    fn missing_and_unreadable_values_are_none() {
        for query in [
            "",
            "EIO=4",
            "token",
            "token=",
            "tokens=a",
            "token=%ff",
            "Token=a",
        ] {
            assert_eq!(value(query, "token"), None, "{query}");
        }
    }

    #[test]
    fn pairs_of_one_name_are_left_out() {
        for (query, rest) in [
            ("", ""),
            ("token=a", ""),
            (
                "token=a&desde=%41+b&tokens=c&to%6Ben=d&token",
                "desde=%41+b&tokens=c",
            ),
            ("a&&b=%ff", "a&&b=%ff"),
        ] {
            assert_eq!(without(query, "token"), rest, "{query}");
        }
    }

    #[test]
    fn raw_values_are_not_decoded() {
        assert_eq!(raw_value("a=1&sid=x", "sid"), Some("x"));
        assert_eq!(raw_value("side=x", "sid"), None);
        assert_eq!(raw_value("EIO=4&sid=a%2E+&sid=b", "sid"), Some("a%2E+"));
        assert_eq!(raw_value("sid=&sid=b", "sid"), Some(""));
        assert_eq!(
            (raw_value("sid", "sid"), raw_value("", "sid")),
            (None, None)
        );
    }

    proptest! {
        #[test]
        fn encoded_values_are_read_back(
            before in "[a-z]{1,4}", text in "[^\u{fffd}]{1,40}", after: String,
        ) {
            let query: String = form_urlencoded::Serializer::new(String::new())
                .append_pair(&before, &after)
                .append_pair("token", &text)
                .append_pair("token", &after)
                .finish();
            let expected = if before == "token" && !after.is_empty() { &after } else { &text };
            prop_assume!(!expected.contains(REPLACEMENT));
            let read = value(&query, "token");
            prop_assert_eq!(read.as_ref(), Some(expected));
        }

        #[test]
        fn any_query_is_parsed(query: String, name: String) {
            let _ = (value(&query, &name), raw_value(&query, &name));
        }
    }
}
