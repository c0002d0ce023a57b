//! What the proof knows from the catalogs.

use std::collections::HashMap;

use crate::facts::{EqualityFacts, FIRST_USER_OID, FunctionFacts, RelationFacts, TypeFacts};
use crate::node::Node;

/// The OIDs of built-in types; they are the same in every database.
mod type_oid {
    pub(super) const NAME: u32 = 19;
    pub(super) const BIGINT: u32 = 20;
    pub(super) const SMALLINT: u32 = 21;
    pub(super) const INTEGER: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const VARCHAR: u32 = 1043;
    pub(super) const DATE: u32 = 1082;
    pub(super) const TIMESTAMP: u32 = 1114;
}

/// The catalog entries that were read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyCatalog<'a> {
    pub(crate) relations: &'a HashMap<u32, RelationFacts>,
    pub(crate) functions: &'a HashMap<u32, FunctionFacts>,
    pub(crate) types: &'a HashMap<u32, TypeFacts>,
    pub(crate) equalities: &'a HashMap<u32, EqualityFacts>,
}

/// The way in which a column spells a key part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeySpelling {
    /// As the parameter does.
    Same,
    /// As the parameter does after a cast to this type.
    Cast(&'static str),
}

/// The OID of the database's default collation, which is deterministic.
const DEFAULT_COLLATION: u32 = 100;

/// Returns whether texts are equal under a collation if they are under the default one. PostgreSQL's
/// own collations are deterministic: they take equal bytes alone for equal.
fn is_bytewise(collation: u32, own: u32) -> bool {
    own == DEFAULT_COLLATION && collation < FIRST_USER_OID
}

impl KeyCatalog<'_> {
    /// Returns whether a function is PostgreSQL's own `unnest`.
    pub(crate) fn is_unnest(&self, function: u32) -> bool {
        let known = self.functions.get(&function);
        function < FIRST_USER_OID && known.is_some_and(|facts| facts.name == "unnest")
    }

    /// Returns whether an operator, used with this collation, is the default equality of a variable's
    /// type and collation. The lookup uses `=`, which must mean the same. A comparison with a column of
    /// another collation has that one.
    pub(crate) fn is_own_equality(&self, operator: u32, collation: u32, variable: &Node) -> bool {
        let (Ok(data_type), Ok(own)) = (
            variable.number::<u32>("vartype"),
            variable.number::<u32>("varcollid"),
        ) else {
            return false;
        };
        let family = self.types.get(&data_type).and_then(|facts| facts.family);
        let equality = self.equalities.get(&operator);
        let (Some(family), Some(equality)) = (family, equality) else {
            return false;
        };
        equality.is_immutable
            && equality.families.contains(&family)
            && (collation == 0 || collation == own || is_bytewise(collation, own))
    }

    fn column_facts(&self, relation: u32, column: i32) -> Option<&TypeFacts> {
        let data_type = self.relations.get(&relation)?.column_types.get(&column)?;
        self.types.get(data_type)
    }

    /// Returns the type of a column; a domain counts as what it is made of.
    pub(crate) fn column_type(&self, relation: u32, column: i32) -> Option<u32> {
        self.column_facts(relation, column).map(|facts| facts.base)
    }

    /// Returns whether triggers see the changes of a relation, so that a lookup may join it.
    pub(crate) fn has_triggers(&self, relation: u32) -> bool {
        self.relations.get(&relation).is_some_and(|facts| {
            let is_system = matches!(facts.schema.as_str(), "pg_catalog" | "information_schema");
            matches!(facts.kind.as_str(), "r" | "p") && !is_system
        })
    }

    /// Returns whether a lookup can read a column. Transition tables have NULL for a virtual one.
    pub(crate) fn is_readable(&self, relation: u32, column: i32) -> bool {
        let known = self.relations.get(&relation);
        known.is_some_and(|facts| {
            facts.columns.contains_key(&column) && !facts.virtual_columns.contains_key(&column)
        })
    }

    /// Returns the schema of the operator `=` for two columns that are equal in the query: `None` in it
    /// is `pg_catalog`. Returns `None` if no one `=` is known to compare them.
    pub(crate) fn join_equality(&self, left: (u32, i32), right: (u32, i32)) -> Option<Equals<'_>> {
        let left = self.column_facts(left.0, left.1)?;
        let right = self.column_facts(right.0, right.1)?;
        let is_same_family = left.family.is_some() && left.family == right.family;
        match &left.equality_schema {
            _ if !is_same_family => None,
            None => Some(Equals::BuiltIn),
            Some(schema) if left.base == right.base => Some(Equals::InSchema(schema)),
            Some(_) => None,
        }
    }

    /// Returns how a column spells a key of this type, or `None` if their texts may differ.
    pub(crate) fn key_spelling(
        &self,
        relation: u32,
        column: i32,
        key_type: u32,
    ) -> Option<KeySpelling> {
        use type_oid::{BIGINT, DATE, INTEGER, NAME, SMALLINT, TEXT, TIMESTAMP, VARCHAR};
        let is_deterministic = self
            .relations
            .get(&relation)
            .is_some_and(|facts| !facts.nondeterministic_columns.contains(&column));
        if !is_deterministic {
            return None;
        }
        let own = self.column_type(relation, column)?;
        let key = self.types.get(&key_type)?.base;
        let is_whole = |oid| matches!(oid, BIGINT | SMALLINT | INTEGER);
        let is_text = |oid| matches!(oid, TEXT | VARCHAR);
        match (own, key) {
            _ if own == key => Some(KeySpelling::Same),
            _ if is_whole(own) && is_whole(key) => Some(KeySpelling::Same),
            _ if is_text(own) && is_text(key) => Some(KeySpelling::Same),
            (NAME, _) if is_text(key) => Some(KeySpelling::Cast("text")),
            (TIMESTAMP, DATE) => Some(KeySpelling::Cast("date")),
            _ => None,
        }
    }
}

/// The operator `=` that a lookup writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Equals<'a> {
    /// PostgreSQL's own.
    BuiltIn,
    /// That of an extension, in this schema.
    InSchema(&'a str),
}
