//! The command `latido try`: shows one query on a page of this machine. It only reads, and it needs
//! nothing installed.

mod command;
mod examination;
mod form;
mod live_query;
mod page_messages;
mod query_file;
mod rewrite;

pub use command::{TryInfo, TryOptions, try_query};
