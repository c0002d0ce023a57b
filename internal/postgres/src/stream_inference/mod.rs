//! Completes a stream from its query: the names of its key parts, the tables that concern it, and
//! the way from their rows to the keys.

mod difference;
mod infer;
mod inferred_stream;
mod key_parts;

pub(crate) use difference::differences;
pub use infer::InferenceAccess;
pub(crate) use inferred_stream::complete_stream;
pub use inferred_stream::{InferredStream, InferredTable, KeySuggestion, UnprovenTable};
