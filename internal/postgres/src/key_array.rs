//! Keys as the array parameter of a stream's query.

use tokio_postgres::types::{Kind, ToSql, Type};
use uuid::Uuid;

use latido_base::ident::Key;
use latido_stream::KeyType;

/// The types that a query may declare for `$1`, as text for messages.
pub(super) const EXPECTED_ARRAYS: &str =
    "an array of uuid, bigint, integer, smallint, text or varchar";

/// Returns the kind of keys in an array of that type, or `None` if the type is not supported.
pub(super) fn key_type(array: &Type) -> Option<KeyType> {
    let Kind::Array(element) = array.kind() else {
        return None;
    };
    match *element {
        Type::UUID => Some(KeyType::Uuid),
        Type::INT8 | Type::INT4 | Type::INT2 => Some(KeyType::Integer),
        Type::TEXT | Type::VARCHAR => Some(KeyType::Text),
        _ => None,
    }
}

/// Returns the SQL name of an array type, such as `uuid[]`.
pub(super) fn array_name(array: &Type) -> String {
    match array.kind() {
        Kind::Array(element) => format!("{}[]", element.name()),
        _ => array.name().to_owned(),
    }
}

/// Returns whether the type of an array and that of a result column mean the same kind of keys. The
/// types themselves may differ.
pub(super) fn is_same_key_type(array: &Type, column: &Type) -> bool {
    let of_column = match *column {
        Type::UUID => Some(KeyType::Uuid),
        Type::INT8 | Type::INT4 | Type::INT2 => Some(KeyType::Integer),
        Type::TEXT | Type::VARCHAR => Some(KeyType::Text),
        _ => None,
    };
    of_column.is_some() && of_column == key_type(array)
}

/// Returns whether the array's element type can hold the key: `70000` is an integer, but not a
/// smallint.
pub(super) fn fits(array: &Type, key: &Key) -> bool {
    let text = key.as_str();
    match *array {
        Type::UUID_ARRAY => Uuid::try_parse(text).is_ok(),
        Type::INT8_ARRAY => text.parse::<i64>().is_ok(),
        Type::INT4_ARRAY => text.parse::<i32>().is_ok(),
        Type::INT2_ARRAY => text.parse::<i16>().is_ok(),
        _ => true,
    }
}

/// Returns the keys as a parameter of that type. Keys that do not pass [`fits`] are left out.
pub(super) fn key_parameter<'a>(
    array: &Type,
    keys: &[&'a Key],
) -> Box<dyn ToSql + Sync + Send + 'a> {
    match *array {
        Type::UUID_ARRAY => Box::new(parse_all::<Uuid>(keys)),
        Type::INT8_ARRAY => Box::new(parse_all::<i64>(keys)),
        Type::INT4_ARRAY => Box::new(parse_all::<i32>(keys)),
        Type::INT2_ARRAY => Box::new(parse_all::<i16>(keys)),
        _ => Box::new(keys.iter().map(|key| key.as_str()).collect::<Vec<_>>()),
    }
}

fn parse_all<T: std::str::FromStr>(keys: &[&Key]) -> Vec<T> {
    keys.iter()
        .filter_map(|key| key.as_str().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_too_large_for_its_column_is_left_out() {
        let keys: Vec<Key> = ["7", "70000", "-1"].map(Key::from_canonical).into();
        let fitting: Vec<&Key> = keys
            .iter()
            .filter(|key| fits(&Type::INT2_ARRAY, key))
            .collect();
        assert_eq!(
            fitting.iter().map(|k| k.as_str()).collect::<Vec<_>>(),
            ["7", "-1"]
        );
        assert_eq!(key_type(&Type::INT2_ARRAY), Some(KeyType::Integer));
        assert_eq!(key_type(&Type::INT2), None);
        assert_eq!(key_type(&Type::NUMERIC_ARRAY), None);
        assert!(
            is_same_key_type(&Type::INT8_ARRAY, &Type::INT4)
                && !is_same_key_type(&Type::UUID_ARRAY, &Type::TEXT)
        );
    }
}
