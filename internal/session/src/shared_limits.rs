//! The limits of clients that a reload replaces.

use std::sync::{Arc, PoisonError, RwLock};

use crate::SessionLimits;

/// The current limits of one client. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct SharedLimits(Arc<RwLock<SessionLimits>>);

impl SharedLimits {
    /// Shares limits.
    pub fn new(limits: SessionLimits) -> Self {
        Self(Arc::new(RwLock::new(limits)))
    }

    /// Returns the current limits.
    pub fn get(&self) -> SessionLimits {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the limits.
    pub fn set(&self, limits: SessionLimits) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }
}
