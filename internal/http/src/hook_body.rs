//! The hook's body, which names the key that may have changed.

use serde_json::{Map, Value};

use latido_base::ident::Key;
use latido_net::query;
use latido_stream::{KeyType, Stream};

/// The generic name of the key's field, for senders that do not know the stream's own.
const GENERIC_KEY_FIELD: &str = "key";

/// The reason a body is not a valid hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HookBodyError {
    #[error("expected a JSON object")]
    NotJson,
    #[error("expected \"{field}\": {expected}")]
    Key { field: String, expected: KeyType },
    #[error("expected \"action\" to be a string")]
    Action,
}

/// The format of a hook's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFormat {
    /// A JSON object.
    Json,
    /// A form, or a JSON object that its sender labelled as one, as `curl -d` does.
    FormOrJson,
}

impl BodyFormat {
    /// Returns the format of a content type: `application/json`, `application/<anything>+json`, or
    /// those that older writers send for the same, `text/plain` and forms. A missing type counts as
    /// JSON.
    ///
    /// The page of a browser must send JSON, for which its browser asks first: it sends the other
    /// types to any server without asking (Fetch standard, CORS-safelisted request headers).
    pub(super) fn of(content_type: &str, is_from_page: bool) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        match &*essence {
            "" | "application/json" => Some(Self::Json),
            "text/plain" if !is_from_page => Some(Self::Json),
            "application/x-www-form-urlencoded" if !is_from_page => Some(Self::FormOrJson),
            other => (other.starts_with("application/") && other.ends_with("+json"))
                .then_some(Self::Json),
        }
    }
}

/// Parses a hook's body into its key, for the fuzz targets.
///
/// # Errors
/// The reason the body is not valid.
#[cfg(any(fuzzing, feature = "testing"))]
pub fn parse_hint(
    body: &[u8],
    stream: &Stream,
    key_type: KeyType,
) -> Result<Key, impl std::error::Error + use<>> {
    parse(body, BodyFormat::FormOrJson, stream, key_type)
}

/// Parses the key of `{"<key_field>": …, "action": …}` or `{"key": …}`.
///
/// The action's value does not matter, since the row is read again in any case. It must be text,
/// because anything else is a mistake worth reporting.
pub(super) fn parse(
    body: &[u8],
    format: BodyFormat,
    stream: &Stream,
    key_type: KeyType,
) -> Result<Key, HookBodyError> {
    let body = match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => body,
        Err(_) if format == BodyFormat::FormOrJson => form_fields(body, stream),
        _ => return Err(HookBodyError::NotJson),
    };
    let invalid = || HookBodyError::Key {
        field: stream.key_field.clone(),
        expected: key_type,
    };
    let text = match body
        .get(&stream.key_field)
        .or_else(|| body.get(GENERIC_KEY_FIELD))
    {
        Some(Value::String(text)) if !text.trim().is_empty() => text.clone(),
        Some(Value::Number(number)) if key_type == KeyType::Integer => number.to_string(),
        _ => return Err(invalid()),
    };
    let key = key_type
        .parse(&text, stream.key_prefix())
        .map_err(|_| invalid())?;
    match body.get("action") {
        None | Some(Value::Null | Value::String(_)) => Ok(key),
        Some(_) => Err(HookBodyError::Action),
    }
}

/// Returns the fields of a form that a hint may have.
fn form_fields(body: &[u8], stream: &Stream) -> Map<String, Value> {
    let form = String::from_utf8_lossy(body);
    let names = [stream.key_field.as_str(), GENERIC_KEY_FIELD, "action"];
    let fields = names.iter().filter_map(|name| {
        let value = query::value(&form, name)?;
        Some(((*name).to_owned(), Value::from(value)))
    });
    fields.collect()
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";

    fn read(body: &str, key_type: KeyType) -> Result<String, HookBodyError> {
        let stream = Stream::test_stream("estadisticas", None);
        parse(body.as_bytes(), BodyFormat::Json, &stream, key_type).map(|key| key.to_string())
    }

    #[test]
    fn content_types_determine_the_format() {
        let form = "application/x-www-form-urlencoded";
        for json in [
            "",
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/cloudevents+json",
        ] {
            for is_from_page in [false, true] {
                let format = BodyFormat::of(json, is_from_page);
                assert_eq!(format, Some(BodyFormat::Json), "{json}");
            }
        }
        for (other, expected) in [
            ("text/plain; charset=utf-8", BodyFormat::Json),
            (form, BodyFormat::FormOrJson),
        ] {
            assert_eq!(BodyFormat::of(other, false), Some(expected), "{other}");
            assert_eq!(BodyFormat::of(other, true), None, "{other} of a page");
        }
        for other in [
            "text/html",
            "application/jsonp",
            "text/json; application/json",
        ] {
            assert_eq!(BodyFormat::of(other, false), None, "{other}");
        }
    }

    #[test]
    fn forms_are_parsed() {
        let stream = Stream::test_stream("estadisticas", None);
        let read = |body: &str, key_type| {
            parse(body.as_bytes(), BodyFormat::FormOrJson, &stream, key_type)
                .map(|key| key.to_string())
        };
        for body in [
            "negocio_id=negocio_123&action=created",
            "action=&key=123",
            r#"{"negocio_id":123}"#,
        ] {
            assert_eq!(read(body, KeyType::Integer).as_deref(), Ok("123"), "{body}");
        }
        for body in ["", "negocio_id=", "negocio_id=x", "other=1", "[]", "{"] {
            assert!(read(body, KeyType::Integer).is_err(), "{body}");
        }
    }

    #[test]
    fn bodies_of_the_rest_api_are_parsed() {
        for action in [
            "created",
            "updated",
            "deleted",
            "status_changed",
            "something_new",
        ] {
            let body = format!(r#"{{"negocio_id":"{UUID}","action":"{action}"}}"#);
            assert_eq!(read(&body, KeyType::Uuid).as_deref(), Ok(UUID));
        }
        assert_eq!(
            read(r#"{"negocio_id":"negocio_123"}"#, KeyType::Text).as_deref(),
            Ok("negocio_123")
        );
        assert_eq!(
            read(r#"{"negocio_id":"negocio_123"}"#, KeyType::Integer).as_deref(),
            Ok("123")
        );
        assert_eq!(
            read(r#"{"negocio_id":123,"action":null}"#, KeyType::Integer).as_deref(),
            Ok("123")
        );
        assert_eq!(read(r#"{"key":"a"}"#, KeyType::Text).as_deref(), Ok("a"));
    }

    #[test]
    fn invalid_body_names_the_expected_value() {
        for body in [
            "",
            "{",
            "null",
            "[]",
            "\"x\"",
            "7",
            r#"["negocio_id"]"#,
            "{}x",
        ] {
            assert_eq!(
                read(body, KeyType::Text),
                Err(HookBodyError::NotJson),
                "{body}"
            );
        }
        for value in [
            "",
            r#""negocio_id":"""#,
            r#""negocio_id":"  ""#,
            r#""negocio_id":null"#,
            r#""negocio_id":7"#,
            r#""negocio_id":["a"]"#,
            r#""negocio_id":{}"#,
            r#""negocio_id":true"#,
        ] {
            let error = read(&format!("{{{value}}}"), KeyType::Text).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("expected \"negocio_id\": a text"),
                "{error}"
            );
        }
        for value in ["1.5", "1e3", "9223372036854775808", r#""x""#] {
            assert!(
                matches!(
                    read(&format!(r#"{{"negocio_id":{value}}}"#), KeyType::Integer),
                    Err(HookBodyError::Key { .. })
                ),
                "{value}"
            );
        }
        assert!(matches!(
            read(r#"{"negocio_id":"x"}"#, KeyType::Uuid),
            Err(HookBodyError::Key { .. })
        ));
        for action in ["1", "[]", "true"] {
            assert_eq!(
                read(
                    &format!(r#"{{"negocio_id":"a","action":{action}}}"#),
                    KeyType::Text
                ),
                Err(HookBodyError::Action)
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_body_does_not_panic(body in ".*") {
            let _ = read(&body, KeyType::Text);
            let stream = Stream::test_stream("estadisticas", None);
            let _ = parse(body.as_bytes(), BodyFormat::FormOrJson, &stream, KeyType::Integer);
        }
    }
}
