//! Modules that people own, the pages where they see them, and the administrators' pages: the system that clients know from a Socket.IO
//! server (`docs/apps/modules.md` is for those who move from it).
//!
//! Web clients and older firmware come over Socket.IO (`socket`), newer firmware over `/esp32` (`guest`), servers over HTTP
//! (`addresses`, `emit`), and whoever writes the table of modules over its triggers (`rows`). All of it meets in the `office`, which
//! keeps what is known (`registry`) and says what really changed (`news`) to the topics of those who may know (`topics`). Who somebody
//! is comes from a token, a session or a module's password (`people`, `device`), and never from what they say of themselves.

mod addresses;
mod app;
mod commands;
mod config;
mod cookie;
mod dates;
mod device;
mod emit;
mod grouping;
mod guest;
mod harbour;
mod identity;
mod news;
mod office;
mod orders;
mod page;
mod people;
mod query;
mod registry;
mod request;
mod rows;
mod socket;
mod stats;
mod store;
mod tally;
mod topics;

use app::Modules;
pub use app::start;
pub use config::Config;
pub use stats::{STATS_STREAM, stream as stats_stream};

/// What it is called in `LATIDO_APPS`.
pub const NAME: &str = "modules";
