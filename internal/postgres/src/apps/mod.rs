//! The apps' database access: one module per app, with its SQL in `sql/apps/`.

pub mod messaging;
pub mod modules;
