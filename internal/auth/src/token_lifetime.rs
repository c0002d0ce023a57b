//! The end of a token, for everything that it opened.
//!
//! A token ends by its expiry or by its revocation. Every connection that was opened by a token
//! holds its [`TokenLifetime`], and ends with it.

use std::sync::Arc;
use std::time::Duration;

use crate::introspection::RevocationState;
use latido_base::clock::Clock;

/// The longest time from the issuer's answer that a token is revoked to the end of its connections.
pub const REVOCATION_CHECK: Duration = Duration::from_secs(2);
/// The same in seconds, for timers on the wall clock.
const REVOCATION_CHECK_S: i64 = 2;
/// The longest sleep towards an expiry, because the wall clock may be set meanwhile.
const EXPIRY_CHECK: Duration = Duration::from_secs(5);

/// The end of a token. Clones belong to the same token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLifetime {
    ends_at_s: i64,
    revocation: Option<Arc<RevocationState>>,
}

/// The reason for which a token has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEnd {
    /// Its time has passed.
    Expired,
    /// Its issuer has revoked it.
    Revoked,
}

impl TokenLifetime {
    /// Creates a lifetime that ends at a Unix second, or earlier by revocation.
    pub(super) fn new(ends_at_s: i64, revocation: Option<Arc<RevocationState>>) -> Self {
        Self {
            ends_at_s,
            revocation,
        }
    }

    /// Returns the reason if the token has ended by the Unix second `now_s`.
    pub fn ended(&self, now_s: i64) -> Option<TokenEnd> {
        if self
            .revocation
            .as_ref()
            .is_some_and(|state| state.is_revoked())
        {
            Some(TokenEnd::Revoked)
        } else if now_s >= self.ends_at_s {
            Some(TokenEnd::Expired)
        } else {
            None
        }
    }

    /// Returns the Unix second at which [`TokenLifetime::ended`] must be called again.
    pub fn next_check_s(&self, now_s: i64) -> i64 {
        match self.revocation {
            Some(_) => self.ends_at_s.min(now_s.saturating_add(REVOCATION_CHECK_S)),
            None => self.ends_at_s,
        }
    }

    /// Waits until the token has ended.
    pub async fn wait_for_end(&self, clock: &Clock) -> TokenEnd {
        loop {
            let now_s = clock.unix_s();
            if let Some(end) = self.ended(now_s) {
                return end;
            }
            let due_in_s = self.next_check_s(now_s).saturating_sub(now_s).max(0);
            let due_in = Duration::from_secs(due_in_s.unsigned_abs());
            tokio::time::sleep(due_in.min(EXPIRY_CHECK)).await;
        }
    }
}
