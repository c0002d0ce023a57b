//! The names that cross every layer, the wall clock as an argument, and the stop signal.

pub mod clock;
pub mod drain;
pub mod ident;
pub mod secret;
