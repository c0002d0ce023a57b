//! Takes up another configuration while the server runs: its streams and its limits.
//!
//! Everything is checked first; a mistake changes nothing. Then the new streams are made known to
//! every part that has a state for each stream, and listed at once in place of the old ones. Viewers
//! go over by the name of their channel, and no connection is closed.

mod examination;
mod plan;
mod reloader;
mod source;

pub(super) use reloader::{ReloadParts, Reloader};
pub use source::ReloadSource;
