//! The parameters of a stream, as the table `[streams.NAME.params]` declares them.

use crate::config::stream_parser::{EXPECTED_NAME, StreamParser};
use crate::config::toml_fields::Fields;
use latido_stream::{DEFAULT_TEXT_BYTES, MAX_TEXT_BYTES, Param, ParamKind, is_name};

/// The largest number of parameters of a stream.
const MAX_PARAMS: usize = 8;

/// The parameters of addresses that are none of a stream, with what they are.
const RESERVED: [(&str, &str); 2] = [
    ("token", "the token"),
    ("history", "the request for the history"),
];

/// The fields of one parameter.
struct ParamTable {
    kind: String,
    default: Option<toml::Value>,
    max_length: Option<i64>,
    values: Option<Vec<String>>,
}

/// The parser of one stream's parameters.
pub(super) struct StreamParams<'a, 'b> {
    stream: &'a mut StreamParser<'b>,
}

impl<'a, 'b> StreamParams<'a, 'b> {
    pub(super) fn new(stream: &'a mut StreamParser<'b>) -> Self {
        Self { stream }
    }

    /// Returns the parameters in the order of the file.
    pub(super) fn parse(mut self, params: toml::Table, key_fields: &[String]) -> Vec<Param> {
        if params.len() > MAX_PARAMS {
            self.stream.add_error(
                Some("params"),
                &format!("expected at most {MAX_PARAMS} parameters"),
            );
        }
        let mut parsed = Vec::new();
        for (name, table) in params {
            if !is_name(&name) {
                self.add_error(&name, EXPECTED_NAME);
            }
            if let Some((_, of)) = RESERVED.iter().find(|(reserved, _)| name == *reserved) {
                let message = format!("is the name of {of} in addresses; expected another");
                self.add_error(&name, &message);
            }
            if key_fields.contains(&name) {
                self.add_error(&name, "is a key part already; expected another name");
            }
            match table.try_into() {
                Ok(table) => {
                    let table = self.table(&name, Fields::new(table));
                    parsed.extend(table.and_then(|table| self.param(name, table)));
                }
                Err(error) => self.add_error(&name, error.message()),
            }
        }
        parsed
    }

    fn table(&mut self, name: &str, mut fields: Fields) -> Option<ParamTable> {
        let kind = fields.require("type");
        let (default, max_length) = (fields.take("default"), fields.take("max_length"));
        let values = fields.take("values");
        for (field, problem) in fields.finish() {
            let field = field.map(|field| format!("{field}: ")).unwrap_or_default();
            self.add_error(name, &format!("{field}{problem}"));
        }
        Some(ParamTable {
            kind: kind?,
            default,
            max_length,
            values,
        })
    }

    fn param(&mut self, name: String, table: ParamTable) -> Option<Param> {
        let kind = self.kind(&name, &table)?;
        let default = match table.default {
            None => None,
            Some(value) => {
                let text = match &value {
                    toml::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let canonical = kind.parse(&text);
                if canonical.is_none() {
                    self.add_error(&name, &format!("default: expected {kind}"));
                }
                canonical
            }
        };
        Some(Param {
            name,
            kind,
            default,
        })
    }

    /// Returns the values that are possible. An option of another type is an error.
    fn kind(&mut self, name: &str, table: &ParamTable) -> Option<ParamKind> {
        if table.max_length.is_some() && table.kind != "text" {
            self.add_error(name, "max_length is for type = \"text\" alone");
        }
        if table.values.is_some() && table.kind != "enum" {
            self.add_error(name, "values is for type = \"enum\" alone");
        }
        match &*table.kind {
            "date" => Some(ParamKind::Date),
            "integer" => Some(ParamKind::Integer),
            "boolean" => Some(ParamKind::Boolean),
            "text" => {
                let limit = table.max_length.map(usize::try_from);
                let limit = limit.unwrap_or(Ok(DEFAULT_TEXT_BYTES)).ok();
                let max_bytes = limit.filter(|limit| (1..=MAX_TEXT_BYTES).contains(limit));
                let max_bytes = max_bytes.unwrap_or_else(|| {
                    let expected = format!("max_length: expected 1 to {MAX_TEXT_BYTES} bytes");
                    self.add_error(name, &expected);
                    DEFAULT_TEXT_BYTES
                });
                Some(ParamKind::Text { max_bytes })
            }
            "enum" => self.enum_values(name, table.values.clone().unwrap_or_default()),
            _ => {
                self.add_error(name, "type: expected date, integer, text, boolean or enum");
                None
            }
        }
    }

    fn enum_values(&mut self, name: &str, values: Vec<String>) -> Option<ParamKind> {
        let is_text = |text: &String| {
            (1..=DEFAULT_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        if values.is_empty() || !values.iter().all(is_text) {
            self.add_error(
                name,
                &format!("values: expected texts of 1 to {DEFAULT_TEXT_BYTES} bytes without control characters"),
            );
            return None;
        }
        Some(ParamKind::Enum(values))
    }

    fn add_error(&mut self, name: &str, problem: &str) {
        self.stream
            .add_error(Some(&format!("params.{name}")), problem);
    }
}
