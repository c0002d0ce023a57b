//! Key parts and parameters of topics as the array parameters of a stream's query.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use latido_stream::{KeyType, ParamKind};

/// The types that a query may declare for a key part, as text for messages.
pub(super) const EXPECTED_ARRAYS: &str =
    "an array of uuid, bigint, integer, smallint, text, varchar, date or boolean";

/// Returns the kind of keys in an array of that type, or `None` if the type is not supported.
pub(super) fn key_type(array: &Type) -> Option<KeyType> {
    element_key_type(element(array)?)
}

fn element(array: &Type) -> Option<&Type> {
    match array.kind() {
        Kind::Array(element) => Some(element),
        _ => None,
    }
}

fn element_key_type(element: &Type) -> Option<KeyType> {
    match *element {
        Type::UUID => Some(KeyType::Uuid),
        Type::INT8 | Type::INT4 | Type::INT2 => Some(KeyType::Integer),
        Type::TEXT | Type::VARCHAR => Some(KeyType::Text),
        Type::DATE => Some(KeyType::Date),
        Type::BOOL => Some(KeyType::Boolean),
        _ => None,
    }
}

/// Returns whether values of a parameter can be elements of an array of that type.
pub(super) fn can_hold(array: &Type, param: &ParamKind) -> bool {
    let Some(element) = element(array) else {
        return false;
    };
    let is_text = [Type::TEXT, Type::VARCHAR].contains(element);
    match param {
        ParamKind::Date => *element == Type::DATE,
        ParamKind::Integer => [Type::INT8, Type::INT4, Type::INT2].contains(element),
        ParamKind::Text { .. } => is_text,
        ParamKind::Boolean => *element == Type::BOOL,
        ParamKind::Enum(values) => match element.kind() {
            Kind::Enum(labels) => values.iter().all(|value| labels.contains(value)),
            _ => is_text,
        },
    }
}

/// Returns the type that a domain is made of.
pub(super) fn base_type(of: &Type) -> &Type {
    match of.kind() {
        Kind::Domain(base) => base_type(base),
        _ => of,
    }
}

/// Returns the SQL name of an array type, such as `uuid[]`.
pub(super) fn array_name(array: &Type) -> String {
    match element(array) {
        Some(element) => format!("{}[]", element.name()),
        None => array.name().to_owned(),
    }
}

/// Returns whether the type of an array and that of a result column mean the same kind of keys. The
/// types themselves may differ.
pub(super) fn is_same_key_type(array: &Type, column: &Type) -> bool {
    let of_column = element_key_type(column);
    of_column.is_some() && of_column == key_type(array)
}

/// Returns whether the array's element type can hold the text: `70000` is an integer, but not a
/// smallint.
pub(super) fn fits(array: &Type, text: &str) -> bool {
    match *array {
        Type::UUID_ARRAY => Uuid::try_parse(text).is_ok(),
        Type::INT8_ARRAY => text.parse::<i64>().is_ok(),
        Type::INT4_ARRAY => text.parse::<i32>().is_ok(),
        Type::INT2_ARRAY => text.parse::<i16>().is_ok(),
        _ => true,
    }
}

/// Returns the texts as a parameter of that type. Those that do not pass [`fits`] are left out.
pub(super) fn array_parameter<'a>(
    array: &Type,
    texts: &[&'a str],
) -> Box<dyn ToSql + Sync + Send + 'a> {
    match *array {
        Type::UUID_ARRAY => Box::new(parse_all::<Uuid>(texts)),
        Type::INT8_ARRAY => Box::new(parse_all::<i64>(texts)),
        Type::INT4_ARRAY => Box::new(parse_all::<i32>(texts)),
        Type::INT2_ARRAY => Box::new(parse_all::<i16>(texts)),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => Box::new(texts.to_vec()),
        _ => Box::new(ArrayText::new(texts)),
    }
}

fn parse_all<T: std::str::FromStr>(texts: &[&str]) -> Vec<T> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// An array of any type as PostgreSQL reads it from text (PostgreSQL manual, «Array Input and Output
/// Syntax»).
#[derive(Debug)]
struct ArrayText(String);

impl ArrayText {
    fn new(elements: &[&str]) -> Self {
        Self(array_text(elements))
    }
}

/// Returns the text of an array with these elements.
pub(super) fn array_text<T: AsRef<str>>(elements: &[T]) -> String {
    let quote = |element: &T| {
        let escaped = element.as_ref().replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    };
    let quoted: Vec<_> = elements.iter().map(quote).collect();
    format!("{{{}}}", quoted.join(","))
}

impl ToSql for ArrayText {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        element(of).is_some()
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_too_large_for_its_column_is_left_out() {
        let keys = ["7", "70000", "-1"].into_iter();
        let fitting: Vec<_> = keys.filter(|key| fits(&Type::INT2_ARRAY, key)).collect();
        assert_eq!(fitting, ["7", "-1"]);
        assert_eq!(key_type(&Type::INT2_ARRAY), Some(KeyType::Integer));
        assert_eq!(key_type(&Type::INT2), None);
        assert_eq!(key_type(&Type::NUMERIC_ARRAY), None);
        assert!(
            is_same_key_type(&Type::INT8_ARRAY, &Type::INT4)
                && !is_same_key_type(&Type::UUID_ARRAY, &Type::TEXT)
        );
    }
}
