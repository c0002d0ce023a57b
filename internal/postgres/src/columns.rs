//! The JSON types that `row_to_json` gives to columns.

use tokio_postgres::types::{Kind, Oid, Type};
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::key_kind::base_type;
use latido_inference::FIRST_USER_OID;
use latido_stream::ColumnKind;

/// The types with a cast function to `json`, such as `hstore`, which `row_to_json` calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CastTypes(Vec<Oid>);

impl CastTypes {
    /// Finds them among these types. Asks nothing if all are PostgreSQL's own, whose casts make no JSON
    /// of their own.
    ///
    /// # Errors
    /// Returns the driver's error.
    pub(super) async fn find(
        client: &Client,
        types: impl Iterator<Item = &Type>,
    ) -> Result<Self, Error> {
        let own = types.map(|of| base_type(of).oid());
        let own: Vec<_> = own
            .filter(|oid| *oid >= FIRST_USER_OID)
            .map(|oid| oid.to_string())
            .collect();
        if own.is_empty() {
            return Ok(Self::default());
        }
        // A simple query needs no statement that a pooler would have to remember.
        let sql = format!(
            "SELECT castsource FROM pg_catalog.pg_cast WHERE castmethod OPERATOR(pg_catalog.=) 'f' \
             AND casttarget OPERATOR(pg_catalog.=) {} AND castsource OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.oid[])",
            Type::JSON.oid(),
            own.join(",")
        );
        let messages = client.simple_query(&sql).await?;
        let oids = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        });
        Ok(Self(oids.collect()))
    }
}

/// Returns the JSON type of a column. Numbers and booleans keep their type, a domain has that of
/// its base type, and all others become text unless their own cast makes JSON.
pub(super) fn json_kind(of: &Type, cast_types: &CastTypes) -> ColumnKind {
    let of = base_type(of);
    if let Kind::Array(_) | Kind::Composite(_) = of.kind() {
        return ColumnKind::Any;
    }
    if cast_types.0.contains(&of.oid()) {
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
            assert_eq!(json_kind(&of, &CastTypes::default()), expected, "{of}");
        }
    }
}
