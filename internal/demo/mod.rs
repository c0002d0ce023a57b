//! What `latido demo` shows: a few businesses with a life of their own.
//!
//! The `writer` books, attends and cancels citas; [`Demo`] stands behind the two addresses that only a demo has, a session without a
//! password and a button that books. All SQL is text made of our own constants and of numbers, so that nothing from outside ever
//! gets into it, and this module needs no database driver: `app` lends it [`Statements`].
//!
//! Nothing here touches a business that is not in [`BUSINESSES`], whatever database it was pointed at.

mod businesses;
mod facade;
mod sql;
mod writer;

use futures_util::future::BoxFuture;

pub use businesses::{ADMIN_USER, BUSINESSES, Business, find};
pub use facade::{BookError, Demo, Session};
pub use sql::seed;
pub use writer::{Pace, write};

/// A way to run one statement, or several separated by semicolons. Lent by whoever holds the connections.
pub trait Statements: Send + Sync {
    /// Runs it and returns how many rows the last statement changed.
    ///
    /// # Errors
    /// The database is away or refuses; no half of a single statement stays behind.
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, anyhow::Result<u64>>;
}
