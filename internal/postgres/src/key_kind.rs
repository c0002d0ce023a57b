//! The kinds of types that key parts may have: how each spells its values.
//!
//! A trigger, a query's row and a channel's name must give one text to one key. The SQL is here, and
//! [`latido_stream::KeyType`] does the same with what clients write.

use serde::{Deserialize, Serialize};
use tokio_postgres::types::{Kind, Type};

/// The types of key columns, for messages.
pub(crate) const KEY_COLUMN_TYPES: &str = "uuid, bigint, integer, smallint, numeric(n,0), text, varchar, char(n), citext, date, boolean, an enum, \
     or a domain over one of these";

/// The kind of a key part's type. The comment of a trigger function notes it for each part that a
/// lookup returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeyKind {
    /// `uuid`.
    Uuid,
    /// `bigint`, `integer` and `smallint`.
    Integer,
    /// `numeric`, and of columns only those without a fraction.
    Numeric,
    /// `text` and `varchar`.
    Text,
    /// `char(n)`.
    Padded,
    /// `citext`.
    CaseInsensitive,
    /// `date`.
    Date,
    /// `boolean`.
    Boolean,
    /// Any enum.
    Enum,
}

impl KeyKind {
    /// Returns the kind of a type, or `None` if no key part can have it. A domain is of the kind of
    /// its base type.
    pub(crate) fn of_type(of: &Type) -> Option<Self> {
        let of = base_type(of);
        match (of.kind(), of.name()) {
            (Kind::Enum(_), _) => Some(Self::Enum),
            (Kind::Simple, "citext") => Some(Self::CaseInsensitive),
            (Kind::Simple, name) if of.schema() == "pg_catalog" => Self::of_column(name),
            _ => None,
        }
    }

    /// Returns the kind that `find_columns.sql` names, or `None` if a key column cannot be of it.
    pub(crate) fn of_column(name: &str) -> Option<Self> {
        match name {
            "uuid" => Some(Self::Uuid),
            "int8" | "int4" | "int2" => Some(Self::Integer),
            "numeric" => Some(Self::Numeric),
            "text" | "varchar" => Some(Self::Text),
            "bpchar" => Some(Self::Padded),
            "citext" => Some(Self::CaseInsensitive),
            "date" => Some(Self::Date),
            "bool" => Some(Self::Boolean),
            "enum" => Some(Self::Enum),
            _ => None,
        }
    }

    /// Returns whether equal values of both kinds always have the same text. A label of an enum and
    /// an equal text do, and so do whole numbers.
    pub(crate) fn spells_like(self, other: Self) -> bool {
        let common = |kind| match kind {
            Self::Numeric => Self::Integer,
            Self::Enum => Self::Text,
            kind => kind,
        };
        common(self) == common(other)
    }

    /// Returns SQL for the canonical text of a value of this kind. A number loses the zeros of its
    /// fraction: a query may return other numbers than the columns of keys hold. A date that has no
    /// text, such as `infinity`, is NULL.
    pub(crate) fn text_sql(self, value: &str) -> String {
        match self {
            // The format of a date is a setting. Without the cast, to_char takes a timestamptz, and
            // some time zones have skipped days.
            Self::Date => format!(
                "pg_catalog.to_char({value}::pg_catalog.timestamp, 'YYYY-MM-DD'::pg_catalog.text)"
            ),
            // The equality of citext compares what lower gives in the default collation, whatever
            // that of the column.
            Self::CaseInsensitive => {
                format!("pg_catalog.lower({value}::pg_catalog.text COLLATE pg_catalog.\"default\")")
            }
            Self::Numeric => format!("pg_catalog.trim_scale({value})::pg_catalog.text"),
            _ => format!("{value}::pg_catalog.text"),
        }
    }

    /// Returns SQL for a value in the form that a trigger compares, which is not always text. Texts
    /// are compared byte by byte, regardless of the column's collation; so are labels, since a domain
    /// over an enum has no equality.
    pub(crate) fn comparable_sql(self, value: &str) -> String {
        match self {
            Self::Uuid | Self::Integer | Self::Numeric | Self::Boolean => value.to_owned(),
            Self::Text | Self::Padded | Self::Enum => format!("{value}::text COLLATE \"C\""),
            Self::CaseInsensitive => format!("{} COLLATE \"C\"", self.text_sql(value)),
            Self::Date => self.text_sql(value),
        }
    }

    /// Returns SQL that compares two values. Texts are compared unless equal values of the type have
    /// equal texts.
    pub(crate) fn equal_sql(self, one: &str, other: &str) -> String {
        let [one, other] = [one, other].map(|value| match self {
            Self::Text | Self::Padded | Self::Enum => {
                format!("{value}::pg_catalog.text COLLATE pg_catalog.\"C\"")
            }
            Self::CaseInsensitive => self.text_sql(value),
            Self::Uuid | Self::Integer | Self::Numeric | Self::Boolean | Self::Date => {
                value.to_owned()
            }
        });
        format!("{one} OPERATOR(pg_catalog.=) {other}")
    }

    /// Returns the type to write in a query for keys of this kind.
    pub(crate) fn parameter_type(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Integer => "bigint",
            Self::Numeric => "numeric",
            Self::Text | Self::Enum => "text",
            // Not `char`, which is `char(1)`.
            Self::Padded => "bpchar",
            Self::CaseInsensitive => "citext",
            Self::Date => "date",
            Self::Boolean => "boolean",
        }
    }
}

/// Returns the type that a domain is made of, also through other domains, or the type itself.
pub(crate) fn base_type(of: &Type) -> &Type {
    match of.kind() {
        Kind::Domain(base) => base_type(base),
        _ => of,
    }
}

/// Returns the labels of an enum or of a domain over one, and none for other types.
pub(crate) fn labels(of: &Type) -> &[String] {
    match base_type(of).kind() {
        Kind::Enum(labels) => labels,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(name: &str, kind: Kind) -> Type {
        Type::new(name.to_owned(), 70_000, kind, "public".to_owned())
    }

    #[test]
    fn domains_are_of_the_kind_of_their_base() {
        let clave = custom("clave", Kind::Domain(Type::UUID));
        let outer = custom("clave2", Kind::Domain(clave));
        assert_eq!(KeyKind::of_type(&outer), Some(KeyKind::Uuid));
        let of_enum = custom("d", Kind::Domain(custom("e", Kind::Enum(Vec::new()))));
        assert_eq!(KeyKind::of_type(&of_enum), Some(KeyKind::Enum));
        let citext = custom("citext", Kind::Simple);
        assert_eq!(KeyKind::of_type(&citext), Some(KeyKind::CaseInsensitive));
        for other in [
            Type::FLOAT8,
            Type::TIMESTAMPTZ,
            Type::CHAR,
            Type::NAME,
            Type::INT4_ARRAY,
            custom("uuid", Kind::Simple),
        ] {
            assert_eq!(KeyKind::of_type(&other), None, "{other}");
        }
    }

    #[test]
    fn only_kinds_with_one_spelling_agree() {
        let agree = [
            (KeyKind::Integer, KeyKind::Numeric),
            (KeyKind::Text, KeyKind::Enum),
        ];
        let all = [
            KeyKind::Uuid,
            KeyKind::Integer,
            KeyKind::Numeric,
            KeyKind::Text,
            KeyKind::Padded,
            KeyKind::CaseInsensitive,
            KeyKind::Date,
            KeyKind::Boolean,
            KeyKind::Enum,
        ];
        for a in all {
            for b in all {
                let expected = a == b || agree.contains(&(a, b)) || agree.contains(&(b, a));
                assert_eq!(a.spells_like(b), expected, "{a:?} {b:?}");
            }
        }
    }
}
