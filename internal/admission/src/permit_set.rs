//! The permits that one connection holds.

use tokio::sync::OwnedSemaphorePermit;

/// The permits that one connection holds: one of the server-wide limit and one per further limit
/// that applies to it.
///
/// Dropping the set releases all of them.
#[derive(Debug)]
pub struct PermitSet {
    _permit: OwnedSemaphorePermit,
    _others: Option<Box<Self>>,
}

impl PermitSet {
    /// Creates a set with the server-wide permit only.
    pub fn new(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: permit,
            _others: None,
        }
    }

    /// Adds a permit of another limit; returns the set unchanged for `None`.
    #[must_use]
    pub fn with(self, permit: Option<OwnedSemaphorePermit>) -> Self {
        match permit {
            Some(permit) => Self {
                _permit: permit,
                _others: Some(Box::new(self)),
            },
            None => self,
        }
    }
}
