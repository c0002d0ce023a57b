//! The schemas of one stream: its keys, its rows, and examples of both.

use serde_json::{Map, Value, json};

use crate::specification::stream_docs::{PartDocs, StreamDocs};
use latido_stream::{
    Column, ColumnKind, KeyType, MAX_KEY_BYTES, Param, ParamKind, encode_params, encode_part,
};

/// The read time in the examples, in Unix seconds.
const EXAMPLE_UNIX_S: i64 = 1_763_780_000;

impl PartDocs {
    /// Returns the reference to the schema of this part.
    pub(super) fn reference(&self) -> Value {
        json!({"$ref": format!("#/components/schemas/{}", self.schema)})
    }

    /// Builds the schema of a key part as clients write it, in channels and addresses.
    pub(super) fn key_schema(&self) -> Value {
        // The prefix consists of letters, digits, `_` and `-`, none of which is special in a
        // pattern.
        let Self { prefix, .. } = self;
        let hex = |digits: u8| format!("[0-9A-Fa-f]{{{digits}}}");
        let mut schema = match &self.key_type {
            Some(KeyType::Uuid) => {
                let [a, b, c] = [8, 4, 12].map(hex);
                json!({"type": "string", "pattern": format!("^({prefix})?{a}-{b}-{b}-{b}-{c}$")})
            }
            Some(KeyType::Integer) => {
                // A 64-bit integer has at least 18 digits.
                json!({"type": "string", "pattern": format!("^({prefix})?-?[0-9]{{1,18}}$")})
            }
            Some(KeyType::Numeric) => {
                json!({"type": "string", "pattern": format!("^({prefix})?-?0*[0-9]{{1,{}}}$", MAX_KEY_BYTES - 1)})
            }
            Some(KeyType::Text | KeyType::Padded | KeyType::CaseInsensitive(_)) => {
                json!({"type": "string", "pattern": text_key_pattern()})
            }
            Some(KeyType::Enum(labels)) => json!({"type": "string", "enum": *labels.labels()}),
            Some(KeyType::Date) => json!({"type": "string", "format": "date"}),
            Some(KeyType::Boolean) => json!({"type": "string", "enum": ["true", "false"]}),
            None => json!({"type": "string", "minLength": 1}),
        };
        schema["examples"] = json!([self.example_key()]);
        schema
    }

    /// Builds the schema of a key part in a hook's body, which may be a number for integer keys, and
    /// not blank for texts.
    pub(super) fn hook_key_schema(&self) -> Value {
        let key = self.reference();
        let is_text = matches!(
            self.key_type,
            Some(KeyType::Text | KeyType::Padded | KeyType::CaseInsensitive(_))
        );
        if is_text {
            return json!({"allOf": [key, {"pattern": r"\S"}]});
        }
        if matches!(self.key_type, Some(KeyType::Integer | KeyType::Numeric)) {
            json!({"anyOf": [key, {"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}]})
        } else {
            key
        }
    }

    /// Returns an example of this part. An enum may have other labels later.
    pub(super) fn example_key(&self) -> String {
        let example = match &self.key_type {
            Some(KeyType::Uuid) => "6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11",
            Some(KeyType::Integer | KeyType::Numeric) => "123",
            Some(KeyType::Date) => "2026-11-30",
            Some(KeyType::Boolean) => "true",
            Some(KeyType::Enum(labels)) => {
                let labels = labels.labels();
                return labels.first().map(ToString::to_string).unwrap_or_default();
            }
            Some(KeyType::Text | KeyType::Padded | KeyType::CaseInsensitive(_)) | None => {
                "negocio_123"
            }
        };
        example.to_owned()
    }
}

impl StreamDocs {
    /// Builds the schema of `data` in frames and responses. Every column is nullable, because
    /// PostgreSQL does not report which columns are never null.
    pub(super) fn data_schema(&self, timestamp: &str) -> Value {
        let parts = self.parts.iter();
        let mut properties: Map<_, _> = parts
            .map(|part| (part.field.clone(), part.reference()))
            .collect();
        let columns = self.columns.iter().flatten();
        properties.extend(
            columns
                .clone()
                .map(|column| (column.name.clone(), nullable_type(column.kind))),
        );
        properties.insert("timestamp".into(), json!({"$ref": timestamp}));
        let required: Vec<_> = properties.keys().cloned().collect();
        // Until the columns are known, any may occur.
        json!({
            "type": "object", "required": required, "properties": properties,
            "additionalProperties": self.columns.is_none(), "examples": [self.example_data()],
        })
    }

    /// Builds the schema of the rows of a history.
    pub(super) fn history_schema(&self) -> Value {
        let columns = self.history_columns.iter().flatten();
        let properties: Map<_, _> = columns
            .map(|column| (column.name.clone(), nullable_type(column.kind)))
            .collect();
        let required: Vec<_> = properties.keys().cloned().collect();
        let row = json!({
            "type": "object", "required": required, "properties": properties,
            "additionalProperties": self.history_columns.is_none(),
        });
        json!({"type": "array", "items": row})
    }

    pub(super) fn example_data(&self) -> Value {
        let mut data = self.example_key();
        data.extend(
            self.columns
                .iter()
                .flatten()
                .map(|Column { name, kind, .. }| (name.clone(), example_value(*kind))),
        );
        data.insert("timestamp".into(), EXAMPLE_UNIX_S.into());
        Value::Object(data)
    }

    /// Returns the key parts of an example by their fields.
    pub(super) fn example_key(&self) -> Map<String, Value> {
        let parts = self.parts.iter();
        parts
            .map(|part| (part.field.clone(), part.example_key().into()))
            .collect()
    }

    /// Returns an example channel of this stream.
    pub(super) fn example_channel(&self) -> String {
        let mut channel = self.name.clone();
        for (index, part) in self.parts.iter().enumerate() {
            channel.push(if index == 0 { ':' } else { '/' });
            let example = part.example_key();
            channel.push_str(&match self.parts.len() == 1 && self.params.is_empty() {
                // Such a key is written as it is.
                true => example,
                false => encode_part(&example),
            });
        }
        let needed = self.params.iter().filter(|param| param.default.is_none());
        let needed = needed.map(|param| (param.name.as_str(), example_param(&param.kind)));
        let query = encode_params(needed);
        if !query.is_empty() {
            channel.push('?');
            channel.push_str(&query);
        }
        channel
    }
}

/// Builds the parameter of an address for a stream's parameter.
pub(super) fn query_parameter(param: &Param) -> Value {
    let mut schema = match &param.kind {
        ParamKind::Date => json!({"type": "string", "format": "date"}),
        ParamKind::Integer => json!({"type": "string", "pattern": "^-?[0-9]{1,18}$"}),
        ParamKind::Text { max_bytes } => json!({"type": "string", "maxLength": max_bytes}),
        ParamKind::Boolean => json!({"type": "string", "enum": ["true", "false"]}),
        ParamKind::Enum(values) => json!({"type": "string", "enum": values}),
    };
    if let Some(default) = &param.default {
        schema["default"] = default.as_str().into();
    }
    let mut parameter = json!({
        "name": param.name, "in": "query", "required": param.default.is_none(),
        "description": format!("Expected {}.", param.kind), "schema": schema,
    });
    if param.default.is_none() {
        parameter["example"] = example_param(&param.kind).into();
    }
    parameter
}

fn example_param(kind: &ParamKind) -> &str {
    match kind {
        ParamKind::Date => "2026-11-30",
        ParamKind::Integer => "12",
        ParamKind::Text { .. } => "a",
        ParamKind::Boolean => "true",
        ParamKind::Enum(values) => values.first().map_or("", String::as_str),
    }
}

/// Returns the pattern of text keys. The limit is in bytes, of which a character has at most four,
/// and one if it is of ASCII.
fn text_key_pattern() -> String {
    let few = MAX_KEY_BYTES / 4;
    format!(r"^([ -~]{{1,{MAX_KEY_BYTES}}}|[^\x00-\x1f\x7f-\x9f]{{1,{few}}})$")
}

fn nullable_type(kind: ColumnKind) -> Value {
    let name = match kind {
        ColumnKind::Integer => "integer",
        // PostgreSQL has numbers that JSON has not; they are sent as texts.
        ColumnKind::Number => {
            return json!({"type": ["number", "string", "null"], "pattern": "^(NaN|-?Infinity)$"});
        }
        ColumnKind::Boolean => "boolean",
        ColumnKind::Text => "string",
        ColumnKind::Any => return json!({}),
    };
    json!({"type": [name, "null"]})
}

fn example_value(kind: ColumnKind) -> Value {
    match kind {
        ColumnKind::Integer => 12.into(),
        ColumnKind::Number => 12.5.into(),
        ColumnKind::Boolean => true.into(),
        ColumnKind::Text => "text".into(),
        ColumnKind::Any => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use latido_stream::EnumLabels;

    use super::*;

    fn docs(parts: &[(&str, KeyType)], params: Vec<Param>) -> StreamDocs {
        let part = |(field, key_type): &(&str, KeyType)| PartDocs {
            field: (*field).to_owned(),
            prefix: String::new(),
            key_type: Some(key_type.clone()),
            schema: String::new(),
        };
        StreamDocs {
            name: "notas".to_owned(),
            event: "notas".to_owned(),
            parts: parts.iter().map(part).collect(),
            params,
            columns: None,
            has_history: false,
            history_columns: None,
            hook_paths: Vec::new(),
        }
    }

    #[test]
    fn example_channels_are_written_as_the_server_reads_them() {
        let label = KeyType::Enum(EnumLabels::new(["En curso / 50%"]));
        let modo = Param {
            name: "modo".to_owned(),
            kind: ParamKind::Enum(vec!["más & más".to_owned()]),
            default: None,
        };
        let one = [("estado", label.clone())];
        let two = [("tienda", KeyType::Integer), ("estado", label)];
        for (parts, params, expected) in [
            (&one[..], vec![], "notas:En curso / 50%"),
            (&two, vec![], "notas:123/En%20curso%20%2F%2050%25"),
            (
                &one,
                vec![modo],
                "notas:En%20curso%20%2F%2050%25?modo=m%C3%A1s+%26+m%C3%A1s",
            ),
            (&[], vec![], "notas"),
        ] {
            assert_eq!(docs(parts, params).example_channel(), expected);
        }
    }
}
