//! The readiness check behind `/ready` and the operators' page.

use std::future::Future;
use std::pin::Pin;

/// The future of a readiness check.
pub type ReadinessFuture<'a> = Pin<Box<dyn Future<Output = ReadinessReport> + Send + 'a>>;

/// A check of everything that the server needs to do its work.
pub trait Readiness: Send + Sync {
    /// Checks all dependencies now. Callers cancel it after two seconds.
    fn check(&self) -> ReadinessFuture<'_>;
}

/// The content of `/ready`. Anyone can read the texts: they contain no credentials and no
/// addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessReport {
    /// Set if clients should be sent to this server.
    pub is_ready: bool,
    /// The reason why the database cannot be used. `None` if it answers.
    pub database_problem: Option<String>,
    /// The state of the notification listener: `up`, `down`, `unsupported` and others.
    pub listener: &'static str,
    /// The state of each stream.
    pub streams: Vec<StreamReport>,
}

/// The state of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// The stream's name as configured.
    pub name: String,
    /// The reason why the stream cannot be read. `None` if it can.
    pub problem: Option<String>,
    /// The reason why changes may be found late or cause needless reads. `None` if every change is
    /// notified exactly.
    pub degraded: Option<String>,
}
