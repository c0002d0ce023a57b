//! What the apps keep in the database: one module a system, its SQL in `sql/apps/`.

pub mod messaging;
pub mod modules;
