//! An event to a client, ready to be sent.

use std::sync::Arc;

/// An event with one argument, to be sent to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emit {
    /// The name of the event.
    pub name: Arc<str>,
    /// The argument as JSON text.
    pub payload: Arc<str>,
}

impl Emit {
    /// Creates an emit; `payload` must be JSON text.
    pub fn new(name: impl Into<Arc<str>>, payload: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            payload: payload.into(),
        }
    }
}
