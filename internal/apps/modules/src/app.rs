//! The running app, and what its web clients see.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::time::Instant;

use latido_app_kit::ApiKeys;
use latido_auth::{TokenLifetime, Verifier};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::UserId;
use latido_event_bus::{
    ConnectionId, EventBus, PresenceDiff, PresenceMode, Publish, TopicName, TopicPolicy,
};

use crate::authenticator::ClientAuthenticator;
use crate::claim_attempts::ClaimAttempts;
use crate::config::Config;
use crate::device::password::PasswordDigester;
use crate::events::EventBuilder;
use crate::page::WebPage;
use crate::password_queue::PasswordQueue;
use crate::service::ModuleService;
use crate::store::ModuleStore;
use crate::time_format::{Millis, to_iso_string};
use crate::topics;
use crate::user::{AuthMethod, WebUser};
use crate::verified_passwords::VerifiedPasswords;

/// The running app, shared by its routes, sockets and tasks.
pub(super) struct ModulesApp {
    pub(super) service: Arc<ModuleService>,
    pub(super) authenticator: ClientAuthenticator,
    pub(super) store: Arc<dyn ModuleStore>,
    pub(super) config: Config,
    pub(super) drain: Drain,
    /// The keys of the emit API.
    pub(super) emit_keys: ApiKeys,
    pub(super) password_digester: PasswordDigester,
    /// Half as many checks at a time as cores: password checks must leave CPU time for the
    /// connected clients.
    pub(super) password_queue: Arc<PasswordQueue>,
    pub(super) verified_passwords: VerifiedPasswords,
    pub(super) claim_attempts: ClaimAttempts,
}

impl std::fmt::Debug for ModulesApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModulesApp").finish_non_exhaustive()
    }
}

/// The topic policy: lists the users of the common topic so that they can be counted, and announces
/// no changes.
struct ModulesTopicPolicy;

impl TopicPolicy for ModulesTopicPolicy {
    fn presence_mode(&self, topic: &TopicName) -> PresenceMode {
        if *topic == topics::everyone() {
            PresenceMode::Listed
        } else {
            PresenceMode::Off
        }
    }

    fn on_presence_change(&self, _topic: &TopicName, _diff: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

impl ModulesApp {
    /// Builds the app on any store. It starts no task.
    ///
    /// # Errors
    /// Returns an error if the time zone does not exist or the system has no randomness.
    pub(super) fn build(
        config: Config,
        store: Arc<dyn ModuleStore>,
        verifier: Arc<Verifier>,
        clock: Clock,
        drain: Drain,
    ) -> anyhow::Result<Self> {
        let zone = TimeZone::get(&config.time_zone).context("MODULES_TIMEZONE")?;
        let bus_clock = clock.clone();
        let event_bus = Arc::new(EventBus::new(ModulesTopicPolicy, move || {
            bus_clock.now().as_microsecond()
        }));
        let millis =
            |duration: Duration| Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX);
        let office = ModuleService::new(
            event_bus,
            clock,
            EventBuilder { time_zone: zone },
            millis(config.throttle_window),
            millis(config.offline_after).max(1),
        );
        let mut key = [0; 32];
        getrandom::fill(&mut key).context("no randomness")?;
        if config.trust_clients {
            tracing::warn!(
                "MODULES_TRUST_CLIENTS is on: every client that reaches this server can act as any user, administrator or module"
            );
        }
        let emit_keys = config.api_key.clone().into_iter().collect();
        let password_digester = PasswordDigester::new(&key);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            service: Arc::new(office),
            authenticator: ClientAuthenticator::new(&config, verifier, Arc::clone(&store)),
            store,
            config,
            drain,
            emit_keys,
            verified_passwords: VerifiedPasswords::new(password_digester.clone()),
            password_digester,
            password_queue: PasswordQueue::new((cores / 2).max(1)),
            claim_attempts: ClaimAttempts::default(),
        })
    }

    /// Gives an authenticated web client the topics of its identity, and removes those of an
    /// earlier one.
    pub(super) fn set_client_identity(
        &self,
        conn: ConnectionId,
        user: &WebUser,
        page: Option<WebPage>,
    ) {
        // This fails only if the connection is closed.
        let _ = self.service.event_bus.set_identity(
            conn,
            user.identity(),
            &topics::joins_for(user, page),
        );
        self.service.on_viewers_changed();
    }

    /// Returns the user that a client claims to be, if the operator allows unverified clients.
    pub(super) fn unverified_user(&self, user: Option<&str>, is_admin: bool) -> Option<WebUser> {
        let user = UserId::new(user.filter(|_| self.config.trust_clients)?);
        Some(WebUser {
            id: user,
            is_admin,
            nickname: None,
            auth_method: AuthMethod::Unverified,
        })
    }

    /// Returns the initial events of a page.
    pub(super) fn initial_events(
        &self,
        user: &WebUser,
        page: Option<WebPage>,
    ) -> Vec<(&'static str, Value)> {
        match page {
            Some(WebPage::Modules) => {
                vec![
                    ("modules:initial:state", self.service.states_for(user)),
                    ("modules_state", self.service.own_modules(&user.id)),
                ]
            }
            Some(WebPage::Admin) if user.is_admin => {
                vec![(
                    "admin:initial:stats",
                    self.service.stats().0["stats"].take(),
                )]
            }
            Some(WebPage::Dashboard) => {
                let name = user.nickname.as_deref().unwrap_or(user.id.as_str());
                let message = format!("Connected as {name}");
                vec![(
                    "dashboard:initial:summary",
                    json!({"timestamp": to_iso_string(self.service.now()), "message": message}),
                )]
            }
            Some(WebPage::Admin | WebPage::Other) | None => Vec::new(),
        }
    }

    /// Returns the two counts: of all users and modules for administrators, of the user's own
    /// modules for others.
    pub(super) fn simple_stats(&self, user: &WebUser) -> Value {
        if user.is_admin {
            return self.service.stats().1;
        }
        let summary = self.service.summary_for(user);
        json!({"users": {"online": null}, "modules": {"online": summary["onlineModules"]}, "timestamp": to_iso_string(self.service.now())})
    }

    /// Returns the instant of the next check of a token, at most an hour ahead.
    pub(super) fn next_token_check(&self, lifetime: &TokenLifetime) -> Instant {
        let now_s = self.service.now() / 1000;
        let wait = u64::try_from(lifetime.next_check_s(now_s) - now_s).unwrap_or(0);
        // The limit makes the caller check again, because the wall clock may jump.
        Instant::now() + Duration::from_secs(wait.clamp(1, 3600))
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
