//! What `row_to_json` makes of a column.

use tokio_postgres::types::{Kind, Type};

use crate::stream::ColumnKind;

/// The type in JSON of a column of that type: numbers and booleans as such, a domain as what it is made of, the rest as its text.
pub(super) fn kind(of: &Type) -> ColumnKind {
    match of.kind() {
        Kind::Domain(base) => return kind(base),
        Kind::Array(_) | Kind::Composite(_) => return ColumnKind::Any,
        _ => {}
    }
    match *of {
        Type::INT2 | Type::INT4 | Type::INT8 => ColumnKind::Integer,
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => ColumnKind::Number,
        Type::BOOL => ColumnKind::Boolean,
        Type::JSON | Type::JSONB => ColumnKind::Any,
        _ => ColumnKind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_postgres_writes_them() {
        for (of, expected) in [
            (Type::INT8, ColumnKind::Integer),
            (Type::NUMERIC, ColumnKind::Number),
            (Type::BOOL, ColumnKind::Boolean),
            (Type::JSONB, ColumnKind::Any),
            (Type::INT4_ARRAY, ColumnKind::Any),
            (Type::OID, ColumnKind::Text),
            (Type::DATE, ColumnKind::Text),
        ] {
            assert_eq!(kind(&of), expected, "{of}");
        }
    }
}
