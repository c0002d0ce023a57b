//! The rights that the database granted and that are in use.
//!
//! A right that a claim grants ends with its token. A right that the database granted ends when the
//! database no longer grants it. Nothing reports that, so the rights in use are looked up again in
//! rounds, with one statement for many users and keys.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::permission_subject::Permission;
use latido_base::ident::StreamId;

/// The longest interval at which the owners of leases look at them.
const MAX_OWNER_CHECK: Duration = Duration::from_secs(5);

/// A right that the database granted, held by each connection that uses it.
#[derive(Debug, Default)]
pub struct PermissionLease {
    /// Set once. Relaxed is enough: no other data depends on it.
    withdrawn: AtomicBool,
}

impl PermissionLease {
    /// Returns whether the database no longer grants the right.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }
}

/// The schedule of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecheckSchedule {
    /// The time from one round to the next.
    pub(super) round: Duration,
    /// The interval at which the owner of a lease must look at it.
    pub(super) owner_check: Duration,
}

impl RecheckSchedule {
    /// Divides the time within which a withdrawn right must have ended: into the time to the next
    /// round, the time to the owner's next look, and some for the statements.
    pub(super) fn within(recheck: Duration) -> Self {
        let owner_check = (recheck / 6).clamp(Duration::from_secs(1), MAX_OWNER_CHECK);
        let round = recheck.saturating_sub(owner_check).mul_f64(0.9);
        Self {
            round: round.max(Duration::from_secs(1)),
            owner_check,
        }
    }
}

/// The leases in use, bounded by the subscriptions of all connections.
#[derive(Default)]
pub(super) struct LeaseTable(Mutex<HashMap<Permission, Weak<PermissionLease>>>);

impl LeaseTable {
    /// Returns the one lease of a right, which all its users share.
    pub(super) fn acquire(&self, right: Permission) -> Arc<PermissionLease> {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = leases.entry(right).or_default();
        if let Some(lease) = entry.upgrade().filter(|lease| !lease.is_withdrawn()) {
            return lease;
        }
        let lease = Arc::new(PermissionLease::default());
        *entry = Arc::downgrade(&lease);
        lease
    }

    /// Returns the rights in use by stream, and forgets the others.
    pub(super) fn in_use(&self) -> HashMap<StreamId, Vec<Permission>> {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|_, lease| lease.strong_count() > 0);
        let mut by_stream: HashMap<_, Vec<_>> = HashMap::new();
        for right in leases.keys() {
            let rights = by_stream.entry(right.topic.stream).or_default();
            rights.push(right.clone());
        }
        by_stream
    }

    /// Ends a right for all its users. They notice within the owners' interval.
    pub(super) fn withdraw(&self, right: &Permission) {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = leases.remove(right);
        if let Some(lease) = lease.and_then(|lease| lease.upgrade()) {
            lease.withdrawn.store(true, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for LeaseTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseTable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn withdrawn_right_has_ended_within_the_configured_time() {
        for seconds in [2, 3, 10, 30, 60, 3_600] {
            let recheck = Duration::from_secs(seconds);
            let RecheckSchedule { round, owner_check } = RecheckSchedule::within(recheck);
            assert!(round + owner_check <= recheck, "{seconds}");
            assert!(
                round * 2 >= recheck - owner_check,
                "{seconds}: not too often"
            );
        }
    }
}
