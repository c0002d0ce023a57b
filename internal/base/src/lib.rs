//! The names that cross every layer, the wall clock as an argument, the stop signal, and the small
//! mechanisms that several layers need.

pub mod backoff;
pub mod clock;
pub mod drain;
pub mod ident;
pub mod keyed_rate_limit;
pub mod secret;
pub mod single_flight;
pub mod sleep;
mod sleep_state;
pub mod time_format;
pub mod token_bucket;
