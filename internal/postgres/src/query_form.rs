//! Describes a query that is no stream yet: its parameters, its columns, and its mistakes with
//! their place in the text.

use tokio_postgres::error::ErrorPosition;
use tokio_postgres::types::{Kind, Type};

use crate::columns::{CastTypes, json_kind};
use crate::day_array::is_day_array;
use crate::error::{DatabaseError, ErrorScope};
use crate::key_array::{array_name, element};
use crate::key_kind::{KeyKind, base_type, labels};
use crate::pool::Database;
use crate::prepare::parse_and_describe;
use crate::statement_shape::StatementShape;
use crate::statement_text::single_statement;
use latido_stream::{ColumnKind, DEFAULT_TEXT_BYTES, ParamKind};

/// The purpose of the statements, for messages.
const WHAT: &str = "a look at the query";
/// The most characters of a line that a message shows on each side of a mistake.
const LINE_MARGIN: usize = 60;

/// The parameters and the columns of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryForm {
    /// The parameters, `$1` first.
    pub parameters: Vec<QueryParameter>,
    /// The columns of the result.
    pub columns: Vec<QueryColumn>,
}

impl QueryForm {
    pub(crate) fn of_shape(shape: &StatementShape) -> Self {
        let columns = shape.columns.iter();
        Self {
            parameters: shape.params.iter().map(parameter).collect(),
            columns: columns
                .map(|(name, of)| column(name, of, &shape.cast_types))
                .collect(),
        }
    }
}

/// A parameter of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryParameter {
    /// The name of the type, such as `bigint[]`.
    pub type_name: String,
    /// True if the type is an array.
    pub is_array: bool,
    /// The type to write in a query for keys with these elements, or this type if it is no array.
    /// `None` if it cannot be a key's.
    pub key_type: Option<&'static str>,
    /// True if its elements can be days.
    pub can_be_day: bool,
    /// The values of a stream's parameter that its elements can be, if any.
    pub kind: Option<ParamKind>,
}

/// A column of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryColumn {
    /// The name of the column.
    pub name: String,
    /// The name of the type, such as `bigint`.
    pub type_name: String,
    /// The form in which a page shows its values.
    pub kind: ValueKind,
    /// The type to write in a query for keys with these values, or `None` if they cannot be keys.
    pub key_type: Option<&'static str>,
}

/// The form in which a page shows a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// A number with or without a fraction.
    Number,
    /// A truth value.
    Boolean,
    /// A day.
    Date,
    /// A day and a time, without a zone.
    LocalTime,
    /// A moment.
    Instant,
    /// An array, an object, or JSON.
    Json,
    /// Any other text.
    Text,
}

impl ValueKind {
    /// Returns the name by which the page knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::LocalTime => "local_time",
            Self::Instant => "instant",
            Self::Json => "json",
            Self::Text => "text",
        }
    }

    fn of_type(of: &Type, cast_types: &CastTypes) -> Self {
        match *base_type(of) {
            Type::DATE => Self::Date,
            Type::TIMESTAMP => Self::LocalTime,
            Type::TIMESTAMPTZ => Self::Instant,
            _ => match json_kind(of, cast_types) {
                ColumnKind::Integer | ColumnKind::Number => Self::Number,
                ColumnKind::Boolean => Self::Boolean,
                ColumnKind::Any => Self::Json,
                ColumnKind::Text => Self::Text,
            },
        }
    }
}

/// A mistake in the text of a query, as the server reports it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (SQLSTATE {sqlstate})")]
pub struct QueryMistake {
    /// The message text of the server.
    pub message: String,
    /// The SQLSTATE code of five characters.
    pub sqlstate: String,
    /// The server's advice.
    pub hint: Option<String>,
    /// The number of characters before the mistake.
    pub position: Option<usize>,
}

/// The reason why a query cannot be described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryFormError {
    /// The text holds no statement.
    #[error("the file is empty; expected one SELECT")]
    Empty,
    /// The text holds several statements.
    #[error("the file has several statements; expected one SELECT")]
    SeveralStatements,
    /// The statement returns no rows.
    #[error("the statement returns no rows; expected SELECT, VALUES, TABLE or WITH")]
    NotAQuery,
    /// The server found a mistake.
    #[error(transparent)]
    Mistake(#[from] QueryMistake),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl QueryMistake {
    /// Returns the message with the line of the mistake and a mark below it.
    #[must_use]
    pub fn explain(&self, query: &str) -> String {
        let mut text = self.to_string();
        if let Some((number, line, column)) = self.position.and_then(|at| line_at(query, at)) {
            let start = column.saturating_sub(LINE_MARGIN);
            let shown: Vec<char> = line.chars().skip(start).take(2 * LINE_MARGIN).collect();
            let indent = shown.iter().take(column - start);
            let indent: String = indent
                .map(|c| if *c == '\t' { '\t' } else { ' ' })
                .collect();
            let shown: String = shown.into_iter().collect();
            let label = format!("line {number}: ");
            let margin = " ".repeat(label.len());
            text.push_str(&format!("\n{label}{shown}\n{margin}{indent}^"));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }
}

/// Returns the number of the line with that character, its text, and the column of the character.
fn line_at(text: &str, position: usize) -> Option<(usize, &str, usize)> {
    let mut start = 0;
    for (index, line) in text.split('\n').enumerate() {
        let length = line.chars().count();
        if position <= start + length {
            return Some((index + 1, line.trim_end_matches('\r'), position - start));
        }
        start += length + 1;
    }
    None
}

impl Database {
    /// Describes a query, in a transaction that only reads, without running it.
    ///
    /// # Errors
    /// Returns an error if the text is not one query, if the server refuses it, or if the database
    /// fails.
    pub async fn query_form(&self, text: &str) -> Result<QueryForm, QueryFormError> {
        let sql = single_statement(text).map_err(|_| QueryFormError::SeveralStatements)?;
        let private = self.open_dedicated().await?;
        let described = parse_and_describe(self, &private, sql, &[]).await?;
        let form = QueryForm::of_shape(&described.map_err(to_error)?);
        if form.columns.is_empty() {
            return Err(if is_blank(sql) {
                QueryFormError::Empty
            } else {
                QueryFormError::NotAQuery
            });
        }
        Ok(form)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is used with map_err")]
fn to_error(error: tokio_postgres::Error) -> QueryFormError {
    let db = error.as_db_error();
    match db.filter(|_| ErrorScope::classify(&error) == ErrorScope::Statement) {
        Some(db) => QueryMistake {
            message: db.message().to_owned(),
            sqlstate: db.code().code().to_owned(),
            hint: db.hint().map(ToOwned::to_owned),
            position: match db.position() {
                Some(ErrorPosition::Original(at)) => (*at as usize).checked_sub(1),
                _ => None,
            },
        }
        .into(),
        None => DatabaseError::from_driver(WHAT, &error).into(),
    }
}

fn is_blank(sql: &str) -> bool {
    use latido_stream::statement_text::{Scanner, TokenKind};
    Scanner::new(sql).all(|token| matches!(token.kind, TokenKind::Blank | TokenKind::Semicolon))
}

fn parameter(of: &Type) -> QueryParameter {
    QueryParameter {
        type_name: match element(of) {
            Some(_) => array_name(of),
            None => of.name().to_owned(),
        },
        is_array: element(of).is_some(),
        key_type: key_type(element(of).unwrap_or(of)),
        can_be_day: is_day_array(of),
        kind: element(of).and_then(param_kind),
    }
}

fn column(name: &str, of: &Type, cast_types: &CastTypes) -> QueryColumn {
    QueryColumn {
        name: name.to_owned(),
        type_name: match of.kind() {
            Kind::Array(_) => array_name(of),
            _ => of.name().to_owned(),
        },
        kind: ValueKind::of_type(of, cast_types),
        key_type: key_type(of),
    }
}

fn key_type(of: &Type) -> Option<&'static str> {
    KeyKind::of_type(of).map(KeyKind::parameter_type)
}

/// Returns the values of a stream's parameter that a type can hold.
fn param_kind(of: &Type) -> Option<ParamKind> {
    match KeyKind::of_type(of)? {
        KeyKind::Date => Some(ParamKind::Date),
        KeyKind::Integer | KeyKind::Numeric => Some(ParamKind::Integer),
        KeyKind::Boolean => Some(ParamKind::Boolean),
        KeyKind::Enum => Some(ParamKind::Enum(labels(of).to_vec())),
        KeyKind::Text | KeyKind::CaseInsensitive => Some(ParamKind::Text {
            max_bytes: DEFAULT_TEXT_BYTES,
        }),
        KeyKind::Uuid | KeyKind::Padded => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(position: usize) -> QueryMistake {
        QueryMistake {
            message: "no such column".to_owned(),
            sqlstate: "42703".to_owned(),
            hint: None,
            position: Some(position),
        }
    }

    #[test]
    fn mark_is_below_the_mistake() {
        let query = "SELECT ñ,\n\ttotl\r\nFROM t";
        let lines = |position| {
            let text = mistake(position).explain(query);
            text.lines()
                .skip(1)
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(7), ["line 1: SELECT ñ,", "               ^"]);
        assert_eq!(lines(11), ["line 2: \ttotl", "        \t^"]);
        assert_eq!(lines(17), ["line 3: FROM t", "        ^"]);
        assert!(lines(99).is_empty());
    }

    #[test]
    fn long_lines_are_cut_around_the_mistake() {
        let query = format!("SELECT {}x", "1+".repeat(500));
        let text = mistake(1007).explain(&query);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].ends_with("+x") && lines[1].len() < 140, "{text}");
        assert_eq!(lines[1].find('x'), lines[2].find('^'));
    }
}
