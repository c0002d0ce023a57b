//! Proves how a changed row of each table leads to the keys whose result it can alter.

mod answer;
mod lookup;
mod not_proven;
mod problem;

pub use answer::{KeyPart, KeyProof, LookupAnswer, TableLookups};
pub use lookup::Lookup;
pub use not_proven::{NotProven, NotProvenReason, Suggestion, SuggestionOrigin};
pub use problem::{KeyMixing, KeyProblem};
