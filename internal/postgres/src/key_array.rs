//! Key parts and parameters of topics as the array parameters of a stream's query.

use tokio_postgres::types::{Kind, ToSql, Type};
use uuid::Uuid;

use crate::key_kind::{KeyKind, base_type, labels};
use crate::text_parameter::TextParameter;
use latido_stream::ParamKind;

/// The types that a query may declare for a key part, as text for messages.
pub(super) const EXPECTED_ARRAYS: &str = "an array of uuid, bigint, integer, smallint, numeric, text, varchar, char, citext, date, boolean, \
     an enum, or a domain over one of these";

/// Returns the kind of keys in an array of that type, or `None` if the type is not supported.
pub(super) fn key_kind(array: &Type) -> Option<KeyKind> {
    KeyKind::of_type(element(array)?)
}

/// Returns the type of an array's elements, or `None` if the type is none of an array.
pub(super) fn element(array: &Type) -> Option<&Type> {
    match array.kind() {
        Kind::Array(element) => Some(element),
        _ => None,
    }
}

/// Returns whether values of a parameter can be elements of an array of that type.
pub(super) fn can_hold(array: &Type, param: &ParamKind) -> bool {
    let Some(element) = element(array) else {
        return false;
    };
    let Some(kind) = KeyKind::of_type(element) else {
        return false;
    };
    let is_text = [KeyKind::Text, KeyKind::CaseInsensitive].contains(&kind);
    match param {
        ParamKind::Date => kind == KeyKind::Date,
        ParamKind::Integer => kind.spells_like(KeyKind::Integer),
        ParamKind::Text { .. } => is_text,
        ParamKind::Boolean => kind == KeyKind::Boolean,
        ParamKind::Enum(values) => match kind {
            KeyKind::Enum => values.iter().all(|value| labels(element).contains(value)),
            _ => is_text,
        },
    }
}

/// Returns the SQL name of an array type, such as `uuid[]`.
pub(super) fn array_name(array: &Type) -> String {
    match element(array) {
        Some(element) => format!("{}[]", element.name()),
        None => array.name().to_owned(),
    }
}

/// Returns whether the type of an array and that of a result column spell keys in the same way. The
/// types themselves may differ.
pub(super) fn is_same_key_type(array: &Type, column: &Type) -> bool {
    let kinds = KeyKind::of_type(column).zip(key_kind(array));
    kinds.is_some_and(|(column, array)| column.spells_like(array))
}

/// Returns whether the array's element type can hold the text: `70000` is an integer, but not a
/// smallint. A domain may still refuse it, which then is the error of that key alone.
pub(super) fn fits(array: &Type, text: &str) -> bool {
    let Some(of) = element(array).map(base_type) else {
        return true;
    };
    match *of {
        Type::UUID => Uuid::try_parse(text).is_ok(),
        Type::INT8 => text.parse::<i64>().is_ok(),
        Type::INT4 => text.parse::<i32>().is_ok(),
        Type::INT2 => text.parse::<i16>().is_ok(),
        _ => match of.kind() {
            Kind::Enum(labels) => labels.iter().any(|label| label == text),
            _ => true,
        },
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
        _ => Box::new(TextParameter(array_text(texts).into())),
    }
}

fn parse_all<T: std::str::FromStr>(texts: &[&str]) -> Vec<T> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Returns the text of an array with these elements (PostgreSQL manual, «Array Input and Output
/// Syntax»).
pub(super) fn array_text<T: AsRef<str>>(elements: &[T]) -> String {
    let quote = |element: &T| {
        let escaped = element.as_ref().replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    };
    let quoted: Vec<_> = elements.iter().map(quote).collect();
    format!("{{{}}}", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_too_large_for_its_column_is_left_out() {
        let keys = ["7", "70000", "-1"].into_iter();
        let fitting: Vec<_> = keys.filter(|key| fits(&Type::INT2_ARRAY, key)).collect();
        assert_eq!(fitting, ["7", "-1"]);
        assert_eq!(key_kind(&Type::INT2_ARRAY), Some(KeyKind::Integer));
        assert_eq!(key_kind(&Type::INT2), None);
        assert_eq!(key_kind(&Type::FLOAT8_ARRAY), None);
        assert!(
            is_same_key_type(&Type::INT8_ARRAY, &Type::INT4)
                && is_same_key_type(&Type::INT8_ARRAY, &Type::NUMERIC)
                && !is_same_key_type(&Type::UUID_ARRAY, &Type::TEXT)
                && !is_same_key_type(&Type::TEXT_ARRAY, &Type::BPCHAR)
        );
    }

    fn array_of(name: &str, kind: Kind) -> Type {
        let of = Type::new(name.to_owned(), 70_000, kind, "public".to_owned());
        let kind = Kind::Array(of);
        Type::new(format!("_{name}"), 70_001, kind, "public".to_owned())
    }

    #[test]
    fn labels_and_domains_hold_what_their_base_does() {
        let animo = array_of("animo", Kind::Enum(vec!["bien".to_owned()]));
        assert!(fits(&animo, "bien") && !fits(&animo, "mal"));
        let small = array_of("small", Kind::Domain(Type::INT2));
        assert!(fits(&small, "7") && !fits(&small, "70000"));
        let citext = array_of("citext", Kind::Simple);
        let text = ParamKind::Text { max_bytes: 9 };
        let values = |value: &str| ParamKind::Enum(vec![value.to_owned()]);
        for (array, param, expected) in [
            (&animo, values("bien"), true),
            (&animo, values("mal"), false),
            (&animo, text.clone(), false),
            (&citext, text, true),
            (&small, ParamKind::Integer, true),
            (&Type::NUMERIC_ARRAY, ParamKind::Integer, true),
            (&Type::BPCHAR_ARRAY, values("bien"), false),
            (&Type::DATE_ARRAY, ParamKind::Date, true),
            (&Type::TIMESTAMP_ARRAY, ParamKind::Date, false),
        ] {
            assert_eq!(can_hold(array, &param), expected, "{array} {param}");
        }
    }
}
