//! The TypeScript types of streams: an interface for each stream's frames, its key and parameters,
//! and a map of all streams by name.

use std::collections::HashSet;
use std::fmt::Write as _;

use latido_stream::{Column, ColumnKind, KeyType, Param, ParamKind};

const HEADER: &str =
    "// Written by `latido types --typescript`. Run it again when a stream has changed.\n";

/// Names that TypeScript does not accept for an interface, or that this file uses itself.
const TAKEN_NAMES: [&str; 3] = ["Date", "Record", "Streams"];

/// The words that cannot be the label of a tuple's element: those with which a statement or an
/// operator begins (ECMAScript, section 12.7.2).
const RESERVED_WORDS: &str = "break case catch class const continue debugger default delete do else \
    enum export extends false finally for function if import in instanceof new null return super \
    switch this throw true try typeof var void while with";

/// What the types of a stream are made of.
#[derive(Debug)]
pub(crate) struct StreamTypes<'a> {
    /// The stream's name.
    pub(crate) name: &'a str,
    /// The name and type of each key part.
    pub(crate) key: Vec<(&'a str, KeyType)>,
    /// The parameters.
    pub(crate) params: &'a [Param],
    /// The data columns.
    pub(crate) columns: Vec<Column>,
    /// The data columns of its history, if it has one.
    pub(crate) history: Option<Vec<Column>>,
}

/// Returns a TypeScript module with the types of these streams, in their order.
pub(crate) fn typescript(streams: &[StreamTypes<'_>]) -> String {
    let mut text = HEADER.to_owned();
    let mut map = String::new();
    let mut taken: HashSet<String> = TAKEN_NAMES.map(str::to_owned).into();
    for stream in streams {
        let name = interface_name(stream.name, &mut taken);
        write_interface(&mut text, stream, &name);
        write_history(&mut text, stream, &name);
        write_params(&mut text, stream, &name);
        let history = match stream.history {
            Some(_) => format!("history: {name}History; "),
            None => String::new(),
        };
        let params = match stream.params {
            [] => "Record<string, never>".to_owned(),
            _ => format!("{name}Params"),
        };
        let entry = format!("  {}: {{ data: {name}; {history}", property(stream.name));
        let key = format!("key: {}; params: {params} }};\n", key_tuple(&stream.key));
        map.push_str(&(entry + &key));
    }
    text.push_str("\n/** Every stream by its name, for `new Latido<Streams>(…)`. */\n");
    text + &format!("export interface Streams {{\n{map}}}\n")
}

fn write_interface(text: &mut String, stream: &StreamTypes<'_>, name: &str) {
    let parts: Vec<_> = stream
        .key
        .iter()
        .map(|(part, _)| format!("<{part}>"))
        .collect();
    let channel = match &*parts.join("/") {
        "" => stream.name.to_owned(),
        parts => format!("{}:{parts}", stream.name),
    };
    let _ = writeln!(text, "\n/** What the channel `{channel}` sends. */");
    let _ = writeln!(text, "export interface {name} {{");
    for (part, _) in &stream.key {
        let _ = writeln!(text, "  {}: string;", property(part));
    }
    write_columns(text, &stream.columns);
    text.push_str("  /** When it was read, Unix seconds. */\n  timestamp: number;\n}\n");
}

fn write_history(text: &mut String, stream: &StreamTypes<'_>, name: &str) {
    let Some(columns) = &stream.history else {
        return;
    };
    let _ = writeln!(text, "\n/** A row of the history of `{}`. */", stream.name);
    let _ = writeln!(text, "export interface {name}History {{");
    write_columns(text, columns);
    text.push_str("}\n");
}

fn write_columns(text: &mut String, columns: &[Column]) {
    for column in columns {
        if let Some(note) = number_note(&column.sql_type) {
            let _ = writeln!(text, "  /** {note} */");
        }
        let of = column_type(column);
        let _ = writeln!(text, "  {}: {of};", property(&column.name));
    }
}

fn write_params(text: &mut String, stream: &StreamTypes<'_>, name: &str) {
    if stream.params.is_empty() {
        return;
    }
    let channel = stream.name;
    let _ = writeln!(
        text,
        "\n/** What a subscriber of `{channel}` may choose beside the key. */"
    );
    let _ = writeln!(text, "export type {name}Params = {{");
    for param in stream.params {
        let default = match &param.default {
            Some(default) => format!("; {} if it is left out", code(default)),
            None => String::new(),
        };
        let described = comment_text(&param.kind.to_string());
        let _ = writeln!(text, "  /** Expects {described}{default}. */");
        let optional = if param.default.is_some() { "?" } else { "" };
        let of = param_type(&param.kind);
        let _ = writeln!(text, "  {}{optional}: {of};", property(&param.name));
    }
    text.push_str("};\n");
}

/// Returns the type of a column's values in a frame. Every column may be null.
fn column_type(column: &Column) -> &'static str {
    match column.kind {
        ColumnKind::Integer | ColumnKind::Number => "number | null",
        ColumnKind::Boolean => "boolean | null",
        ColumnKind::Text => "string | null",
        ColumnKind::Any => "unknown",
    }
}

/// Returns what a reader must know of a number: a `number` of JavaScript may not hold all of its
/// digits, for it has 53 bits (IEEE 754, binary64), and JSON has no NaN and no infinity. A union with
/// these texts would spoil every use of a number for values that few columns have.
fn number_note(sql_type: &str) -> Option<&'static str> {
    match sql_type {
        "int8" => Some("Exact up to 2⁵³. Select it as text if it may be larger."),
        "numeric" => Some(
            "Exact up to 15 digits. Select it as text if it may have more. NaN and infinities arrive as text.",
        ),
        "float4" | "float8" => Some("NaN and infinities arrive as text."),
        _ => None,
    }
}

fn key_tuple(key: &[(&str, KeyType)]) -> String {
    let parts: Vec<_> = key
        .iter()
        .map(|(name, of)| format!("{}: {}", tuple_label(name), key_part_type(of)))
        .collect();
    format!("[{}]", parts.join(", "))
}

/// Returns the type of a key part as `channel` of the client takes it.
fn key_part_type(of: &KeyType) -> String {
    match of {
        KeyType::Integer | KeyType::Numeric => "number | bigint | string".to_owned(),
        KeyType::Date => "Date | string".to_owned(),
        KeyType::Boolean => "boolean".to_owned(),
        KeyType::Enum(labels) => union(labels.labels().iter().map(|label| &**label)),
        KeyType::Uuid | KeyType::Text | KeyType::Padded | KeyType::CaseInsensitive(_) => {
            "string".to_owned()
        }
    }
}

fn param_type(kind: &ParamKind) -> String {
    match kind {
        ParamKind::Date => "Date | string".to_owned(),
        ParamKind::Integer => "number | bigint | string".to_owned(),
        ParamKind::Text { .. } => "string".to_owned(),
        ParamKind::Boolean => "boolean".to_owned(),
        ParamKind::Enum(values) => union(values.iter().map(String::as_str)),
    }
}

fn union<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let values: Vec<_> = values.map(quoted).collect();
    if values.is_empty() {
        return "never".to_owned();
    }
    values.join(" | ")
}

/// Returns the name of a stream's interface: `VentasPorDia` for `ventas_por-dia`. A name that is
/// taken gets a number.
fn interface_name(stream: &str, taken: &mut HashSet<String>) -> String {
    let words = stream.split(['_', '-']);
    let mut name: String = words.map(capitalized).collect();
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name.insert_str(0, "Stream");
    }
    let numbered = (2..).map(|number| format!("{name}{number}"));
    let mut candidates = std::iter::once(name.clone()).chain(numbered);
    let names = |name: &str| ["", "History", "Params"].map(|end| format!("{name}{end}"));
    let is_free = |candidate: &String| names(candidate).iter().all(|name| !taken.contains(name));
    let free = candidates.find(is_free).unwrap_or(name);
    taken.extend(names(&free));
    free
}

fn capitalized(word: &str) -> String {
    let mut rest = word.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}

/// Returns a property's name, in quotation marks if it needs them.
fn property(name: &str) -> String {
    if is_identifier(name) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// Returns the label of a tuple's element, which must be an identifier. Labels are for readers only.
fn tuple_label(name: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let label: String = name
        .chars()
        .map(|c| if is_word(c) { c } else { '_' })
        .collect();
    if is_identifier(&label) && !RESERVED_WORDS.split(' ').any(|word| word == label) {
        label
    } else {
        format!("_{label}")
    }
}

fn is_identifier(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
    name.chars().all(is_word) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Returns a literal of TypeScript. JSON is one, as ECMAScript 2019 accepts all of its characters.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn code(text: &str) -> String {
    format!("`{}`", comment_text(text).replace('`', "'"))
}

/// Returns a text that cannot end the comment in which it stands.
fn comment_text(text: &str) -> String {
    text.replace("*/", "*\\/").replace(['\n', '\r'], " ")
}

#[cfg(test)]
#[path = "typescript_tests.rs"]
mod tests;
