//! Proves how a changed row of each table leads to the keys whose result it can alter.

mod answer;
mod boundary;
mod candidate;
mod catalog;
mod chain;
mod choice;
mod class;
mod equality;
mod equivalence;
mod fact;
mod key;
mod lookup;
mod need;
mod needs;
mod not_proven;
mod place;
mod problem;
mod proof;
mod prover;
mod region;
mod resolve;
mod search;
mod source;
mod sql_name;
mod statement;
mod together;
mod unvisited;

pub use answer::{KeyPart, KeyProof, LookupAnswer, TableLookups};
pub use lookup::Lookup;
pub use not_proven::{NotProven, NotProvenReason, Suggestion, SuggestionOrigin};
pub use problem::{KeyMixing, KeyProblem};
pub use sql_name::quote_if_needed;

pub(crate) use catalog::KeyCatalog;
pub(crate) use need::KeyNeed;
pub(crate) use proof::{Question, prove};
