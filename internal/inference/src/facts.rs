//! What the exploration needs to know from the catalogs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The first OID of objects that users create (`FirstNormalObjectId`).
pub const FIRST_USER_OID: u32 = 16_384;

/// The catalog entries that an [`Exploration`](crate::Exploration) needs next. An object that does
/// not exist any more is left out of the response.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PendingFacts {
    /// The OIDs of relations.
    pub relations: Vec<u32>,
    /// The OIDs of functions.
    pub functions: Vec<u32>,
    /// The OIDs of operators.
    pub operators: Vec<u32>,
    /// The OIDs of SQL functions whose body is text and whose tree is therefore needed.
    pub bodies: Vec<u32>,
    /// The OIDs of operators of which it is asked what they compare.
    pub equalities: Vec<u32>,
    /// The OIDs of types.
    pub types: Vec<u32>,
}

impl PendingFacts {
    /// Returns whether nothing is needed any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
            && self.functions.is_empty()
            && self.operators.is_empty()
            && self.bodies.is_empty()
            && self.equalities.is_empty()
            && self.types.is_empty()
    }
}

/// The catalog entries that were pending.
#[derive(Debug, Default)]
pub struct CatalogFacts {
    /// The relations.
    pub relations: Vec<RelationFacts>,
    /// The functions.
    pub functions: Vec<FunctionFacts>,
    /// The operators.
    pub operators: Vec<OperatorFacts>,
    /// The trees of the bodies, by the OID of the function. One that is missing stays hidden.
    pub bodies: HashMap<u32, String>,
    /// The operators, as comparisons.
    pub equalities: Vec<EqualityFacts>,
    /// The types.
    pub types: Vec<TypeFacts>,
}

/// A row of `pg_class` with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelationFacts {
    /// The relation's OID.
    pub oid: u32,
    /// The schema's name.
    pub schema: String,
    /// The relation's name.
    pub name: String,
    /// The value of `relkind`.
    pub kind: String,
    /// True for a temporary relation.
    pub is_temporary: bool,
    /// True if partitions or inheriting tables exist.
    pub has_children: bool,
    /// The names of the columns that exist, by number.
    pub columns: BTreeMap<i32, String>,
    /// The virtual generated columns (since 18), each with the columns of its expression.
    pub virtual_columns: BTreeMap<i32, Vec<i32>>,
    /// The types of the columns, by number. A domain counts as what it is made of.
    pub column_types: BTreeMap<i32, u32>,
    /// The columns with a collation under which different texts may be equal.
    pub nondeterministic_columns: BTreeSet<i32>,
    /// The foreign keys from this relation.
    pub foreign_keys: Vec<ForeignKeyFacts>,
    /// The text of a view's tree, `pg_rewrite.ev_action`.
    pub view_tree: Option<String>,
    /// The text of `pg_policy.polqual` of each policy that applies to reads of this role.
    pub policy_trees: Vec<String>,
}

/// A row of `pg_proc` with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionFacts {
    /// The function's OID.
    pub oid: u32,
    /// The schema's name.
    pub schema: String,
    /// The function's name.
    pub name: String,
    /// The language's name.
    pub language: String,
    /// True if the function is declared IMMUTABLE.
    pub is_immutable: bool,
    /// True if the function belongs to an extension.
    pub is_of_extension: bool,
    /// The number of arguments.
    pub argument_count: i32,
    /// The arguments, as `pg_get_function_identity_arguments` prints them.
    pub arguments: String,
    /// The text of the tree of a body in SQL-standard form, `prosqlbody`.
    pub body_tree: Option<String>,
    /// The functions that an aggregate consists of; `None` for any other function.
    pub aggregate_of: Option<Vec<u32>>,
}

/// A row of `pg_operator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorFacts {
    /// The operator's OID.
    pub oid: u32,
    /// The OID of its function.
    pub function: u32,
}

/// A foreign key of `pg_constraint`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignKeyFacts {
    /// The OID of the relation that is referenced.
    pub parent: u32,
    /// The columns that refer to it.
    pub columns: Vec<i32>,
    /// The columns of the parent, in the same order.
    pub parent_columns: Vec<i32>,
    /// True if a change of the parent changes or deletes rows: CASCADE, SET NULL or SET DEFAULT.
    pub cascades: bool,
}

/// An operator, as far as it is an equality.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EqualityFacts {
    /// The operator's OID.
    pub oid: u32,
    /// The B-tree operator families whose equality it is, `pg_amop.amopfamily`.
    pub families: Vec<u32>,
    /// True if its function is IMMUTABLE. The result of another one may depend on the session's time
    /// zone.
    pub is_immutable: bool,
}

/// A row of `pg_type` with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeFacts {
    /// The type's OID.
    pub oid: u32,
    /// The type that a domain is made of, through other domains; else the type itself.
    pub base: u32,
    /// The element type of an array; 0 for any other type.
    pub element: u32,
    /// The operator family of the default B-tree operator class of the base type.
    pub family: Option<u32>,
    /// The schema of the family's equality, if it is not `pg_catalog`.
    pub equality_schema: Option<String>,
}
