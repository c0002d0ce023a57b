//! The demo's second stream: the services of a business with their citas, between two days.

/// The name of the stream, its event, and its table of services.
pub const SERVICES: &str = "servicios";

/// The query of the stream, with its parameters `desde` and `hasta`.
pub const SERVICES_QUERY: &str = include_str!("../../../sql/demo/servicios.sql");

/// The query for the history of the stream: the citas of each day.
pub const SERVICES_HISTORY: &str = include_str!("../../../sql/demo/servicios_historia.sql");
