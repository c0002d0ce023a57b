//! The operators' view of a running server, and the system topics that publish it live.
//!
//! Once per second the counters are sampled into a ring of ten minutes, even without viewers.
//! Everything else happens only while a system topic ([`latido_stream::SYSTEM_STREAM`]) has a
//! viewer: then the server's state, or the list of its clients, becomes a row. The hub publishes it
//! like any other row: it has versions, the newest value wins, and an unchanged row is not sent.
//! The streams and the clients are not slowed down by it.
//!
//! Rows are JSON text, in the form in which PostgreSQL returns them for streams.

mod admin;
mod metrics_history;
mod process_stats;
mod publisher;
mod reload;
mod status_json;
mod system_topic_viewers;

pub use admin::{Admin, AdminDeps, DependencyStatus, VERSION};
pub use latido_stream::{Readiness, ReadinessReport, StreamReport};
pub use process_stats::{load_average, memory_bytes};
pub use reload::{Reload, ReloadError, ReloadFuture, ReloadReport};
pub use status_json::{client_json, event_json, room_json};
pub use system_topic_viewers::SystemTopicViewers;
