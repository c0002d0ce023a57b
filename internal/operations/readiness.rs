//! Whether the server can do its work: asked by `/ready` and by operators.

use futures_util::future::BoxFuture;

/// Whatever knows whether the server can do its work.
pub trait Readiness: Send + Sync {
    /// Looks now. Cut off after two seconds.
    fn report(&self) -> BoxFuture<'_, Report>;
}

/// What `/ready` says. The texts are shown to anyone who asks: no credentials, no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether clients should be sent here.
    pub ready: bool,
    /// Whether it answers, or why not.
    pub database: Result<(), String>,
    /// `up`, `down`, `unsupported`…
    pub listener: &'static str,
    /// Each stream.
    pub streams: Vec<StreamReport>,
}

/// One stream's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// Its name.
    pub name: String,
    /// Why it can't be read; none if it can.
    pub problem: Option<String>,
}
