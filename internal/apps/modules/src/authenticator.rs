//! Authenticates web clients by a token or by the session of their cookie, never by their own
//! claim.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use latido_auth::{Principal, Secret, TokenSender, Verifier};
use latido_base::ident::UserId;

use crate::config::Config;
use crate::express_session;
use crate::store::ModuleStore;
use crate::user::{AuthMethod, SessionId, WebUser};

/// The largest number of cached session look-ups.
const MAX_CACHED_SESSIONS: u64 = 10_000;

/// The credentials of a request, not verified yet.
#[derive(Debug, Clone, Default)]
pub(super) struct PresentedCredentials {
    pub(super) token: Option<Secret>,
    pub(super) session: Option<SessionId>,
    /// The address of the client, if it is known.
    pub(super) address: Option<IpAddr>,
}

impl PresentedCredentials {
    pub(super) fn is_empty(&self) -> bool {
        self.token.is_none() && self.session.is_none()
    }
}

/// Authentication is not possible now: the database or the issuer's keys are not reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("who that is can't be found out now")]
pub(super) struct AuthUnavailable;

/// The authenticator; see the module's documentation.
pub(super) struct ClientAuthenticator {
    verifier: Arc<Verifier>,
    store: Arc<dyn ModuleStore>,
    admin_roles: Vec<String>,
    session_secrets: Vec<Secret>,
    cookie_name: String,
    allowed_origins: Vec<String>,
    /// The cached session look-ups, including those without a result.
    sessions: Cache<SessionId, Option<WebUser>>,
    /// The time for which a look-up stays valid.
    pub(super) session_ttl: Duration,
}

impl ClientAuthenticator {
    pub(super) fn new(
        config: &Config,
        verifier: Arc<Verifier>,
        store: Arc<dyn ModuleStore>,
    ) -> Self {
        Self {
            verifier,
            store,
            admin_roles: config.admin_roles.clone(),
            session_secrets: config.session_secrets.clone(),
            cookie_name: config.session_cookie.clone(),
            allowed_origins: config.allowed_origins.clone(),
            sessions: Cache::builder()
                .max_capacity(MAX_CACHED_SESSIONS)
                .time_to_live(config.session_ttl)
                .build(),
            session_ttl: config.session_ttl,
        }
    }

    /// Returns the session of a request's cookie, if the cookie may be used and is signed.
    pub(super) fn cookie_session<'h>(
        &self,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Option<SessionId> {
        let cookies = header("cookie")?;
        if !express_session::may_use_cookies(
            header("origin"),
            header("host"),
            &self.allowed_origins,
        ) {
            return None;
        }
        express_session::session_id(cookies, &self.cookie_name, &self.session_secrets)
    }

    /// Authenticates a client. A valid token takes precedence; with an invalid token the session
    /// still counts.
    pub(super) async fn authenticate(
        &self,
        credentials: &PresentedCredentials,
    ) -> Result<Option<WebUser>, AuthUnavailable> {
        let sender = TokenSender::at(credentials.address);
        if let Some(token) = &credentials.token
            && let Some(user) = self.token_user(token, &sender).await?
        {
            return Ok(Some(user));
        }
        match &credentials.session {
            Some(session) => self.session_user(session).await,
            None => Ok(None),
        }
    }

    /// Synchronous variant of [`ClientAuthenticator::authenticate`] for valid tokens of a shared
    /// secret. Returns `None` if only that can decide.
    pub(super) fn try_authenticate(&self, credentials: &PresentedCredentials) -> Option<WebUser> {
        let token = credentials.token.as_ref()?;
        let principal = self.verifier.try_verify(token.expose())?.ok()?;
        Some(self.user_of(&principal))
    }

    fn user_of(&self, principal: &Principal) -> WebUser {
        let is_admin = |role| self.admin_roles.iter().any(|admin| admin == role);
        WebUser {
            id: principal.user().clone(),
            is_admin: principal.role().is_some_and(is_admin),
            nickname: None,
            auth_method: AuthMethod::Token(principal.lifetime()),
        }
    }

    async fn token_user(
        &self,
        token: &Secret,
        sender: &TokenSender,
    ) -> Result<Option<WebUser>, AuthUnavailable> {
        match self.verifier.verify(token.expose(), sender).await {
            Ok(principal) => Ok(Some(self.user_of(&principal))),
            Err(error) if error.is_temporary() => Err(AuthUnavailable),
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
    pub(super) async fn session_user(
        &self,
        session: &SessionId,
    ) -> Result<Option<WebUser>, AuthUnavailable> {
        if let Some(known) = self.sessions.get(session) {
            return Ok(known);
        }
        let row = self
            .store
            .session(session.expose())
            .await
            .map_err(|error| {
                tracing::warn!(%error, "a session could not be looked up");
                AuthUnavailable
            })?;
        let user = row.map(|row| WebUser {
            id: UserId::new(&row.user),
            is_admin: row.is_admin,
            nickname: row.nickname.map(Into::into),
            auth_method: AuthMethod::Session(session.clone()),
        });
        self.sessions.insert(session.clone(), user.clone());
        Ok(user)
    }
}
