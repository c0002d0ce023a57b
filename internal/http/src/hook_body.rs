//! The hook's body, which names the key that may have changed.

use serde_json::{Map, Value};

use latido_base::ident::Key;
use latido_net::query;
use latido_stream::{InvalidKey, KeyType, Stream, key_prefix};

/// The generic name of the key's field, for senders that do not know the stream's own.
const GENERIC_KEY_FIELD: &str = "key";

/// The reason a body is not a valid hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HookBodyError {
    #[error("expected a JSON object")]
    NotJson,
    #[error("expected \"{field}\": {expected}")]
    Key { field: String, expected: KeyType },
    #[error("{0}")]
    Form(String),
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
    types: &[KeyType],
) -> Result<Key, impl std::error::Error + use<>> {
    parse(body, BodyFormat::FormOrJson, stream, types)
}

/// Parses the key of `{"<key_field>": …, "action": …}`, with one field for each part, or of
/// `{"key": …}`, which a channel's name writes the same way.
///
/// The action's value does not matter, since the row is read again in any case. It must be text,
/// because anything else is a mistake worth reporting.
pub(super) fn parse(
    body: &[u8],
    format: BodyFormat,
    stream: &Stream,
    types: &[KeyType],
) -> Result<Key, HookBodyError> {
    let body = match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => body,
        Err(_) if format == BodyFormat::FormOrJson => form_fields(body, stream),
        _ => return Err(HookBodyError::NotJson),
    };
    let is_named = stream
        .key_fields
        .iter()
        .any(|field| body.contains_key(field));
    let key = match body.get(GENERIC_KEY_FIELD) {
        Some(key) if !is_named => whole_key(key, stream, types)?,
        _ => key_of_fields(&body, stream, types)?,
    };
    match body.get("action") {
        None | Some(Value::Null | Value::String(_)) => Ok(key),
        Some(_) => Err(HookBodyError::Action),
    }
}

/// Parses the key of a body with one field for each part.
fn key_of_fields(
    body: &Map<String, Value>,
    stream: &Stream,
    types: &[KeyType],
) -> Result<Key, HookBodyError> {
    let mut parts = Vec::with_capacity(types.len());
    for (field, of) in stream.key_fields.iter().zip(types) {
        let invalid = || HookBodyError::Key {
            field: field.clone(),
            expected: of.clone(),
        };
        let part = body.get(field).and_then(|part| part_text(part, of));
        let part = part.ok_or_else(invalid)?;
        of.parse(&part, key_prefix(field)).map_err(|_| invalid())?;
        parts.push(part);
    }
    stream
        .canonical_key(types, &parts)
        .map_err(|error| HookBodyError::Form(error.to_string()))
}

/// Parses a key that stands in one field.
fn whole_key(value: &Value, stream: &Stream, types: &[KeyType]) -> Result<Key, HookBodyError> {
    let invalid = |problem: Option<InvalidKey>| match (types, problem) {
        ([of], _) => HookBodyError::Key {
            field: stream.key_fields.concat(),
            expected: of.clone(),
        },
        (_, Some(problem)) => HookBodyError::Form(problem.to_string()),
        (_, None) => HookBodyError::Form(format!("expected {}", stream.channel_form())),
    };
    let text = match types {
        [of] => part_text(value, of),
        _ => value.as_str().map(ToOwned::to_owned),
    };
    let text = text.ok_or_else(|| invalid(None))?;
    stream
        .parse_key_without_params(types, &text)
        .map_err(|problem| invalid(Some(problem)))
}

/// Returns the text of a key part, which may be a number if the type is one.
fn part_text(value: &Value, of: &KeyType) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) if matches!(of, KeyType::Integer | KeyType::Numeric) => {
            Some(number.to_string())
        }
        Value::Bool(value) if *of == KeyType::Boolean => Some(value.to_string()),
        _ => None,
    }
}

/// Returns the fields of a form that a hint may have.
fn form_fields(body: &[u8], stream: &Stream) -> Map<String, Value> {
    let form = String::from_utf8_lossy(body);
    let own = stream.key_fields.iter().map(String::as_str);
    let fields = own.chain([GENERIC_KEY_FIELD, "action"]).filter_map(|name| {
        let value = query::value(&form, name)?;
        Some((name.to_owned(), Value::from(value)))
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
        parse(body.as_bytes(), BodyFormat::Json, &stream, &[key_type]).map(|key| key.to_string())
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
            parse(
                body.as_bytes(),
                BodyFormat::FormOrJson,
                &stream,
                &[key_type],
            )
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

    #[test]
    fn keys_of_several_parts_and_none_are_parsed() {
        let two = Stream {
            key_fields: vec!["tienda_id".into(), "caja".into()],
            ..Stream::test_stream("cajas", None)
        };
        let types = [KeyType::Integer, KeyType::Text];
        let read = |body: &str, format| parse(body.as_bytes(), format, &two, &types);
        let key = Key::from_parts(["7", "c/1"]);
        for (body, format) in [
            (
                r#"{"tienda_id":7,"caja":"c/1","action":"created"}"#,
                BodyFormat::Json,
            ),
            (
                r#"{"tienda_id":"tienda_007","caja":"c/1","key":"8/a"}"#,
                BodyFormat::Json,
            ),
            (r#"{"key":"7/c%2F1"}"#, BodyFormat::Json),
            (r#"{"key":"tienda_7/c%2F1?desde=x"}"#, BodyFormat::Json),
            ("tienda_id=7&caja=c%2F1&action=x", BodyFormat::FormOrJson),
            ("key=7%2Fc%252F1", BodyFormat::FormOrJson),
        ] {
            assert_eq!(read(body, format).as_ref(), Ok(&key), "{body}");
        }
        for (body, expected) in [
            ("{}", "expected \"tienda_id\": an integer"),
            (r#"{"tienda_id":7}"#, "expected \"caja\": a text"),
            (
                r#"{"tienda_id":"x","caja":"c"}"#,
                "expected \"tienda_id\": an integer",
            ),
            (r#"{"key":"7"}"#, "cajas:<tienda_id>/<caja>"),
            (r#"{"key":7}"#, "cajas:<tienda_id>/<caja>"),
        ] {
            let error = read(body, BodyFormat::Json).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
        let none = Stream {
            key_fields: Vec::new(),
            ..Stream::test_stream("totales", None)
        };
        let read = |body: &str| parse(body.as_bytes(), BodyFormat::FormOrJson, &none, &[]);
        for body in ["{}", r#"{"action":"deleted","key":""}"#, "", "action=x"] {
            assert_eq!(read(body), Ok(Key::from_parts([""; 0])), "{body}");
        }
        assert!(read(r#"{"key":"7"}"#).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_body_does_not_panic(body in ".*") {
            let _ = read(&body, KeyType::Text);
            let stream = Stream::test_stream("estadisticas", None);
            let _ = parse(body.as_bytes(), BodyFormat::FormOrJson, &stream, &[KeyType::Integer]);
        }
    }
}
