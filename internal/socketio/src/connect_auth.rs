//! The data that a client connects to a namespace with.

use serde_json::{Map, Value};

use latido_net::query;

/// The data as it was sent, which takes a fraction of the memory of parsed values.
#[derive(Debug)]
pub(crate) enum ConnectAuth {
    None,
    /// The payload of version 5 of the protocol.
    Json(Box<str>),
    /// The query behind the namespace, of version 4.
    Query(Box<str>),
}

impl ConnectAuth {
    pub(crate) fn new(payload: Option<&str>, namespace_query: Option<&str>) -> Self {
        match (payload, namespace_query) {
            (Some(json), _) => Self::Json(json.into()),
            (None, Some(raw)) => Self::Query(raw.into()),
            (None, None) => Self::None,
        }
    }

    /// Parses the data. The parameters of a query become an object of texts; of several with one
    /// name, the first counts.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Json(json) => serde_json::from_str(json).unwrap_or_default(),
            Self::Query(raw) => {
                let mut fields = Map::new();
                for (name, value) in query::pairs(raw) {
                    fields.entry(name).or_insert_with(|| value.into());
                }
                Value::Object(fields)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn query_is_an_object_of_texts() {
        let auth = ConnectAuth::new(None, Some("token=a%20b&x=&token=c&y"));
        assert_eq!(auth.to_value(), json!({"token": "a b"}));
    }

    #[test]
    fn payload_is_parsed() {
        assert_eq!(
            ConnectAuth::new(Some(r#"{"a":1}"#), None).to_value(),
            json!({"a": 1})
        );
        assert_eq!(ConnectAuth::new(Some("{"), None).to_value(), Value::Null);
        assert_eq!(ConnectAuth::new(None, None).to_value(), Value::Null);
    }

    /// Each name was once looked up in the whole query: 64 KB took 31 s.
    #[test]
    fn names_without_values_take_linear_time() {
        let auth = ConnectAuth::new(None, Some(&"a&".repeat(500_000)));
        assert_eq!(auth.to_value(), json!({}));
    }
}
