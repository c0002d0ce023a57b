//! The demo of `latido demo`: a few businesses whose data keeps changing.
//!
//! Each business has services, and each cita is of one. [`SERVICES_QUERY`] is a stream over both
//! tables.
//!
//! The `writer` books, completes and cancels citas. [`Demo`] serves the two routes that only a demo
//! has: a session without a password and a button that books. All SQL is built from this module's
//! own constants and from numbers, so no external input can reach it. The module needs no database
//! driver: `app` provides a [`SqlExecutor`].
//!
//! Only the businesses in [`BUSINESSES`] are ever changed, in any database.

mod businesses;
mod service;
mod services;
mod sql;
mod sql_executor;
mod writer;

pub use businesses::{ADMIN_USER, BUSINESSES, DemoBusiness, find_business};
pub use service::{BookError, Demo, DemoSession};
pub use services::{SERVICES, SERVICES_HISTORY, SERVICES_QUERY};
pub use sql::{foreign_data_sql, is_demo_table, seed_sql};
pub use sql_executor::SqlExecutor;
pub use writer::{ActivityRate, start_writer};
