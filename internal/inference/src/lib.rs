//! Finds the tables and columns that a query reads, from PostgreSQL's own parse tree.
//!
//! The tree is the text that `pg_proc.prosqlbody`, `pg_rewrite.ev_action` and `pg_policy.polqual`
//! hold, and that `debug_print_parse` prints. Its form has been the same from PostgreSQL 14 to 18,
//! but it is no promised interface: an unknown form is refused, never guessed.
//!
//! [`Exploration::prove_keys`] also asks how a changed row of each table leads to the keys whose
//! result it can alter ([`KeyProof`]). A lookup is proven from the equalities of the query, or a person is
//! asked.
//!
//! The crate is pure. [`Exploration`] names the catalog entries that it needs, the caller reads
//! them from the database, and [`Exploration::finish`] returns the answer.

mod block;
mod builtin;
mod column_sets;
mod exploration;
mod facts;
mod keys;
mod narrow;
mod node;
mod note;
mod parse;
mod query_reads;
mod refusal;
mod relation_use;
mod visit;

pub use exploration::Exploration;
pub use facts::{
    CatalogFacts, EqualityFacts, FIRST_USER_OID, ForeignKeyFacts, FunctionFacts, OperatorFacts,
    PendingFacts, RelationFacts, TypeFacts,
};
pub use keys::{
    KeyMixing, KeyPart, KeyProblem, KeyProof, Lookup, LookupAnswer, NotProven, NotProvenReason,
    Suggestion, SuggestionOrigin, TableLookups, quote_if_needed,
};
pub use node::{Node, UnreadableTree, Value};
pub use note::Note;
pub use parse::parse_tree;
pub use query_reads::{QueryReads, ReadColumns, TableReads};
pub use refusal::Refusal;

/// The newest major version of PostgreSQL whose trees were tried.
pub const NEWEST_MAJOR: u32 = 18;
