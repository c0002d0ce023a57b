//! Authenticates web clients by a token or by the session of their cookie, never by their own
//! claim.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use latido_auth::{Secret, Verifier};
use latido_base::ident::UserId;

use crate::config::Config;
use crate::cookie;
use crate::identity::{Person, Proof, SessionId};
use crate::store::Store;

/// The largest number of cached session look-ups.
const SESSIONS: u64 = 10_000;

/// The credentials of a request, not verified yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub(super) token: Option<Secret>,
    pub(super) session: Option<SessionId>,
}

impl Shown {
    pub(super) fn is_empty(&self) -> bool {
        self.token.is_none() && self.session.is_none()
    }
}

/// Authentication is not possible now: the database or the issuer's keys are not reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("who that is can't be found out now")]
pub(super) struct Unknowable;

/// The authenticator; see the module's documentation.
pub(super) struct People {
    verifier: Arc<Verifier>,
    store: Arc<dyn Store>,
    admin_roles: Vec<String>,
    secrets: Vec<Secret>,
    cookie: String,
    origins: Vec<String>,
    /// The cached session look-ups, including those without a result.
    sessions: Cache<SessionId, Option<Person>>,
    /// The time for which a look-up stays valid.
    pub(super) ttl: Duration,
}

impl People {
    pub(super) fn new(config: &Config, verifier: Arc<Verifier>, store: Arc<dyn Store>) -> Self {
        Self {
            verifier,
            store,
            admin_roles: config.admin_roles.clone(),
            secrets: config.session_secrets.clone(),
            cookie: config.session_cookie.clone(),
            origins: config.origins.clone(),
            sessions: Cache::builder()
                .max_capacity(SESSIONS)
                .time_to_live(config.session_ttl)
                .build(),
            ttl: config.session_ttl,
        }
    }

    /// Returns the session of a request's cookie, if the cookie may be used and is signed.
    pub(super) fn session<'h>(
        &self,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Option<SessionId> {
        let cookies = header("cookie")?;
        if !cookie::may_use_cookies(header("origin"), header("host"), &self.origins) {
            return None;
        }
        cookie::session(cookies, &self.cookie, &self.secrets)
    }

    /// Authenticates a client. A valid token takes precedence; with an invalid token the session
    /// still counts.
    pub(super) async fn identify(&self, credentials: &Shown) -> Result<Option<Person>, Unknowable> {
        if let Some(token) = &credentials.token
            && let Some(user) = self.bearer(token).await?
        {
            return Ok(Some(user));
        }
        match &credentials.session {
            Some(session) => self.holder(session).await,
            None => Ok(None),
        }
    }

    async fn bearer(&self, token: &Secret) -> Result<Option<Person>, Unknowable> {
        match self.verifier.verify(token.expose()).await {
            Ok(principal) => Ok(Some(Person {
                user: principal.user().clone(),
                is_admin: principal
                    .role()
                    .is_some_and(|role| self.admin_roles.iter().any(|admin| admin == role)),
                nickname: None,
                proof: Proof::Token {
                    ends_at_s: principal.ends_at_s(),
                },
            })),
            Err(error) if error.is_temporary() => Err(Unknowable),
            Err(error) => {
                tracing::debug!(
                    reason = error.reason(),
                    "a token of a web client was refused"
                );
                Ok(None)
            }
        }
    }

    /// Returns the user of a session, from the cache or the database.
    pub(super) async fn holder(&self, session: &SessionId) -> Result<Option<Person>, Unknowable> {
        if let Some(known) = self.sessions.get(session) {
            return Ok(known);
        }
        let row = self
            .store
            .session(session.expose())
            .await
            .map_err(|error| {
                tracing::warn!(%error, "a session could not be looked up");
                Unknowable
            })?;
        let user = row.map(|row| Person {
            user: UserId::new(&row.user),
            is_admin: row.is_admin,
            nickname: row.nickname.map(Into::into),
            proof: Proof::Session(session.clone()),
        });
        self.sessions.insert(session.clone(), user.clone());
        Ok(user)
    }
}
