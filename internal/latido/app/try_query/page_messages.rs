//! The JSON that the page gets.

use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::examination::Examined;
use latido_postgres::{QueryForm, ValueKind};
use latido_stream::{Column, KeyType, ParamKind, Stream};

/// A row before the first read.
pub(super) fn waiting() -> String {
    json!({"state": "waiting"}).to_string()
}

/// Returns the message of a read that failed.
pub(super) fn failed(message: &str) -> String {
    json!({"state": "failed", "message": message}).to_string()
}

/// Returns the message with a row. `columns` is the JSON object that the database wrote, or `None` if
/// the query returns no row.
pub(super) fn live(
    order: &[Column],
    columns: Option<&str>,
    form: &QueryForm,
    changed_ms: i64,
) -> String {
    let fields = columns.map(|columns| fields(order, columns, form));
    json!({"state": "live", "fields": fields, "changed_ms": changed_ms}).to_string()
}

/// Returns the fields of a row. Every value is a text: JavaScript would round numbers.
fn fields(order: &[Column], columns: &str, form: &QueryForm) -> Vec<Value> {
    let values: HashMap<String, &RawValue> = serde_json::from_str(columns).unwrap_or_default();
    let field = |column: &Column| {
        let name = &column.name;
        let known = form.columns.iter().rev().find(|known| known.name == *name);
        let kind = known.map_or(ValueKind::Text, |known| known.kind);
        let text = values.get(name).and_then(|value| value_text(value.get()));
        json!({"name": name, "kind": kind.as_str(), "text": text})
    };
    order.iter().map(field).collect()
}

/// Returns a JSON value as text, or `None` for null.
fn value_text(json: &str) -> Option<String> {
    if json == "null" {
        return None;
    }
    let text: Option<String> = serde_json::from_str(json).ok();
    Some(text.unwrap_or_else(|| json.to_owned()))
}

/// The description of a query for the page.
pub(super) struct PageDescription<'a> {
    pub(super) examined: &'a Examined,
    pub(super) generation: u64,
    pub(super) file: &'a str,
    pub(super) every_ms: u128,
    pub(super) initial_key: Option<&'a str>,
    pub(super) next: &'a [String],
}

impl PageDescription<'_> {
    pub(super) fn to_json(&self) -> String {
        let Examined {
            stream,
            preview,
            examples,
            ..
        } = self.examined;
        let tables = preview.tables.iter();
        let tables = tables.map(|table| json!({"name": table.name, "columns": table.columns}));
        json!({
            "generation": self.generation,
            "name": stream.name,
            "file": self.file,
            "every_ms": self.every_ms,
            "keys": key_parts(stream),
            "params": params(stream),
            "examples": examples,
            "initial": self.initial_key,
            "tables": tables.collect::<Vec<_>>(),
            "notes": preview.notes,
            "unseen": preview.unseen,
            "next": self.next,
        })
        .to_string()
    }
}

fn key_parts(stream: &Stream) -> Vec<Value> {
    let types = stream
        .key_types
        .get()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let part = |(name, of): (&String, &KeyType)| {
        let input = match of {
            KeyType::Integer | KeyType::Numeric => "number",
            KeyType::Date => "date",
            KeyType::Boolean => "boolean",
            _ => "text",
        };
        json!({"name": name, "input": input, "values": []})
    };
    stream.key_fields.iter().zip(types).map(part).collect()
}

fn params(stream: &Stream) -> Vec<Value> {
    let params = stream.params.iter().map(|param| {
        let (input, values): (_, &[String]) = match &param.kind {
            ParamKind::Date => ("date", &[]),
            ParamKind::Integer => ("number", &[]),
            ParamKind::Boolean => ("boolean", &[]),
            ParamKind::Text { .. } => ("text", &[]),
            ParamKind::Enum(values) => ("enum", values),
        };
        json!({"name": param.name, "input": input, "values": values})
    });
    params.collect()
}

#[cfg(test)]
mod tests {
    use latido_postgres::QueryColumn;
    use latido_stream::ColumnKind;

    use super::*;

    #[test]
    fn numbers_are_sent_as_the_database_wrote_them() {
        let column = |name: &str| Column {
            name: name.to_owned(),
            kind: ColumnKind::Number,
            sql_type: String::new(),
        };
        let form = QueryForm {
            parameters: Vec::new(),
            columns: vec![QueryColumn {
                name: "n".to_owned(),
                type_name: "numeric".to_owned(),
                kind: ValueKind::Number,
                key_type: None,
            }],
        };
        let text = live(
            &[column("n"), column("nada"), column("j"), column("t")],
            Some(r#"{"n":12345678901234567890.10,"nada":null,"j":{"a": [1]},"t":"a\"b\u0007"}"#),
            &form,
            7,
        );
        assert_eq!(
            text,
            r#"{"state":"live","fields":[{"name":"n","kind":"number","text":"12345678901234567890.10"},{"name":"nada","kind":"text","text":null},{"name":"j","kind":"text","text":"{\"a\": [1]}"},{"name":"t","kind":"text","text":"a\"b\u0007"}],"changed_ms":7}"#
        );
        assert!(live(&[], None, &form, 7).contains(r#""fields":null"#));
    }
}
