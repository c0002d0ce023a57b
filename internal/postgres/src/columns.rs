//! The JSON types that `row_to_json` gives to columns.

use tokio_postgres::types::{Kind, Type};

use crate::key_kind::base_type;
use latido_stream::ColumnKind;

/// Returns the JSON type of a column. Numbers and booleans keep their type, a domain has that of
/// its base type, and all others become text.
pub(super) fn json_kind(of: &Type) -> ColumnKind {
    let of = base_type(of);
    if let Kind::Array(_) | Kind::Composite(_) = of.kind() {
        return ColumnKind::Any;
    }
    match *of {
        Type::INT2 | Type::INT4 | Type::INT8 => ColumnKind::Integer,
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => ColumnKind::Number,
        Type::BOOL => ColumnKind::Boolean,
        // A record is what `ROW(…)` returns, and becomes an object.
        Type::JSON | Type::JSONB | Type::RECORD => ColumnKind::Any,
        _ => ColumnKind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_match_those_of_row_to_json() {
        for (of, expected) in [
            (Type::INT8, ColumnKind::Integer),
            (Type::NUMERIC, ColumnKind::Number),
            (Type::BOOL, ColumnKind::Boolean),
            (Type::JSONB, ColumnKind::Any),
            (Type::INT4_ARRAY, ColumnKind::Any),
            (Type::RECORD, ColumnKind::Any),
            (Type::OID, ColumnKind::Text),
            (Type::DATE, ColumnKind::Text),
        ] {
            assert_eq!(json_kind(&of), expected, "{of}");
        }
    }
}
