//! What the exploration needs to know from the catalogs.

use std::collections::BTreeMap;

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
}

impl PendingFacts {
    /// Returns whether nothing is needed any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
            && self.functions.is_empty()
            && self.operators.is_empty()
            && self.bodies.is_empty()
    }
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
