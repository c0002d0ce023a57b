//! Starts the app and runs its background tasks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::FutureExt as _;
use jiff::tz::TimeZone;
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use latido_app_kit::{AppDeps, AppServices};
use latido_auth::{Secret, Verifier};
use latido_base::backoff::Backoff;
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::UserId;
use latido_event_bus::{
    ConnectionId, EventBus, Identity, PresenceDiff, PresenceMode, Publish, TopicName, TopicPolicy,
};
use latido_postgres as postgres;
use latido_postgres::apps::modules::{ModulesDatabase, RowHint};

use crate::authenticator::ClientAuthenticator;
use crate::config::Config;
use crate::device::frame;
use crate::device::password::{self, PasswordDigester};
use crate::device::session::{DeviceSession, PasswordCheck};
use crate::events::EventBuilder;
use crate::mount::ModulesMount;
use crate::page::WebPage;
use crate::service::ModuleService;
use crate::socketio::ModulesSocketIo;
use crate::store::ModuleStore;
use crate::time_format::{Millis, to_iso_string};
use crate::user::{AuthMethod, WebUser};
use crate::{row_sync, stats_feed, topics};

/// The interval between saves of modules that came online or went offline. Every `FULL_SAVE_ROUNDS`
/// rounds all other changes are saved too, because telemetry changes with every frame.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
const FULL_SAVE_ROUNDS: u32 = 5;
/// The largest number of modules in one save statement.
const MAX_ROWS_PER_SAVE: usize = 500;
/// The largest number of queued hints of changed rows. If the queue is full, all rows are read.
const MAX_QUEUED_HINTS: usize = 256;
/// The pauses before failed row reads are repeated.
const READ_RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// The time limit of a device's password check.
const PASSWORD_CHECK_TIMEOUT: Duration = Duration::from_secs(8);
/// The number of wrong codes per user and per module within an hour, after which claims are
/// refused.
const MAX_WRONG_CODES: u32 = 10;
const WRONG_CODES_TTL: Duration = Duration::from_secs(3600);

/// The reason for refusing to claim a module. The texts are part of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("Too many wrong codes; try again later")]
    TooManyWrongCodes,
    #[error("No unclaimed module with that code")]
    WrongCode,
    #[error("The module can't be claimed now")]
    Unavailable,
}

/// The reason why a password could not be checked.
#[derive(Debug, thiserror::Error)]
enum PasswordCheckError {
    #[error(transparent)]
    Database(#[from] postgres::DatabaseError),
    #[error("the server stops")]
    Stopping(#[from] tokio::sync::AcquireError),
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

/// The running app, shared by its routes, sockets and tasks.
pub(super) struct ModulesApp {
    pub(super) service: Arc<ModuleService>,
    pub(super) authenticator: ClientAuthenticator,
    pub(super) store: Arc<dyn ModuleStore>,
    pub(super) config: Config,
    pub(super) drain: Drain,
    password_digester: PasswordDigester,
    /// Half as many permits as cores: password checks must leave CPU time for the connected
    /// clients.
    password_check_permits: Arc<Semaphore>,
    wrong_codes: Cache<String, u32>,
}

impl std::fmt::Debug for ModulesApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Modules").finish_non_exhaustive()
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

/// A command on its way to a device.
#[derive(Debug, Deserialize)]
pub(super) struct DeviceCommand {
    #[serde(rename = "moduleId")]
    pub(super) module: String,
    pub(super) command: String,
    pub(super) params: Value,
    pub(super) at: Millis,
}

/// Starts the app on the current runtime.
///
/// # Errors
/// Returns an error if the time zone does not exist, a key is not usable, or the system has no
/// randomness.
pub fn start(config: &Config, deps: &AppDeps) -> anyhow::Result<AppServices> {
    let verifier = match &config.verifier {
        None => Arc::clone(&deps.verifier),
        Some(own_verifier) => {
            let verifier = Verifier::new(own_verifier, deps.clock.clone())?;
            verifier.start(&deps.drain);
            Arc::new(verifier)
        }
    };
    let store = Arc::new(ModulesDatabase::new(&deps.database, &config.session_sql));
    let stored: Arc<dyn ModuleStore> = Arc::clone(&store) as _;
    let app = ModulesApp::build(
        config.clone(),
        stored,
        verifier,
        deps.clock.clone(),
        deps.drain.clone(),
    )?;
    app.drain.spawn_until_stop(stats_feed::watch_stats(
        Arc::clone(&app.service),
        Arc::clone(&deps.hub),
        Arc::clone(&deps.catalog),
    ));
    let (hint_sender, hint_receiver) = mpsc::channel(MAX_QUEUED_HINTS);
    app.drain.spawn_until_stop(async move {
        store
            .listen(|received| enqueue_hint(&hint_sender, received))
            .await
    });
    app.drain
        .spawn_until_stop(Arc::clone(&app).watch_rows(hint_receiver));
    let socket_app = Arc::new(ModulesSocketIo(Arc::clone(&app)));
    let mount = Arc::new(ModulesMount::new(app, deps));
    Ok(AppServices {
        socketio_apps: vec![socket_app],
        http_apps: vec![Arc::clone(&mount) as _],
        websocket_apps: vec![mount],
    })
}

/// Queues a hint. If the queue is full, the reader is behind, and the last queued hint makes it
/// read all rows.
fn enqueue_hint(hint_sender: &mpsc::Sender<RowHint>, hint: RowHint) {
    if let Ok(permit) = hint_sender.try_reserve() {
        // The last slot is reserved for `Everything`, which covers all hints that find no slot.
        permit.send(if hint_sender.capacity() == 0 {
            RowHint::All
        } else {
            hint
        });
    }
}

impl ModulesApp {
    /// Builds the app on any store, and starts its timer and save tasks.
    pub(super) fn build(
        config: Config,
        store: Arc<dyn ModuleStore>,
        verifier: Arc<Verifier>,
        clock: Clock,
        drain: Drain,
    ) -> anyhow::Result<Arc<Self>> {
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
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let app = Arc::new(Self {
            service: Arc::new(office),
            authenticator: ClientAuthenticator::new(&config, verifier, Arc::clone(&store)),
            store,
            config,
            drain,
            password_digester: PasswordDigester::new(&key),
            password_check_permits: Arc::new(Semaphore::new((cores / 2).max(1))),
            wrong_codes: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(WRONG_CODES_TTL)
                .build(),
        });
        app.drain.spawn_until_stop(Arc::clone(&app).run_timers());
        let saving_app = Arc::clone(&app);
        app.drain
            .spawn(async move { saving_app.persist_state().await });
        Ok(app)
    }

    /// Runs the timers of the service when they are due.
    async fn run_timers(self: Arc<Self>) {
        loop {
            let wait = Duration::from_millis(
                u64::try_from(self.service.next_timer() - self.service.now()).unwrap_or(0),
            );
            let _ = timeout(wait, self.service.wake.notified()).await;
            self.service.run_timers();
        }
    }

    /// Saves changed module states, and the remaining ones at shutdown. Failed saves are retried.
    async fn persist_state(&self) {
        let (mut round, mut was_saved) = (0_u32, true);
        while !self.drain.is_stopping() {
            let _ = timeout(SAVE_INTERVAL, self.drain.stopping()).await;
            round = round.wrapping_add(1);
            let all = round % FULL_SAVE_ROUNDS == 0 || self.drain.is_stopping();
            loop {
                let rows = self.service.take_unsaved(MAX_ROWS_PER_SAVE, all);
                if rows.is_empty() {
                    break;
                }
                let saved = self.store.save_states(&rows).await;
                // Logged once per outage, however long it lasts.
                if let Err(error) = &saved
                    && was_saved
                {
                    tracing::warn!(%error, modules = rows.len(), "module states could not be saved; retrying");
                }
                was_saved = saved.is_ok();
                if !was_saved {
                    self.service.restore_unsaved(&rows);
                    break;
                }
            }
        }
    }

    /// Reads the rows that the hints name.
    async fn watch_rows(self: Arc<Self>, mut hint_receiver: mpsc::Receiver<RowHint>) {
        let mut is_initialised = false;
        while let Some(mut hint) = hint_receiver.recv().await {
            // A full read covers all hints that are already queued.
            while let Some(Some(more)) =
                (hint == RowHint::All).then(|| hint_receiver.recv().now_or_never().flatten())
            {
                hint = if more == RowHint::All { more } else { hint };
            }
            let mut backoff = READ_RETRIES;
            loop {
                let result = async {
                    if !is_initialised {
                        self.store.mark_all_offline().await?;
                        is_initialised = true;
                    }
                    match &hint {
                        RowHint::Rows(ids) if self.service.lock().is_loaded => {
                            self.sync_rows(ids).await
                        }
                        RowHint::Rows(_) | RowHint::All => {
                            row_sync::sync_all(&self.service, &*self.store, self.config.max_modules)
                                .await
                        }
                    }
                };
                match result.await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::warn!(%error, "the table of modules could not be read; retrying")
                    }
                }
                sleep(backoff.next_pause()).await;
                // A full read covers everything that changed during the failure.
                hint = RowHint::All;
            }
        }
    }

    pub(super) async fn sync_rows(&self, ids: &[String]) -> Result<(), postgres::DatabaseError> {
        row_sync::sync_rows(&self.service, &*self.store, ids, self.config.max_modules).await
    }

    /// Returns the session of a device that has not sent anything yet.
    pub(super) fn new_device_session(&self) -> DeviceSession {
        DeviceSession::new(
            self.service.now(),
            self.config.trust_clients,
            self.password_digester.clone(),
        )
    }

    /// Checks a module's password. bcrypt is slow by design, so it runs on a blocking thread, a
    /// limited number at a time.
    pub(super) async fn verify_password(
        &self,
        module: &str,
        password: Option<Secret>,
    ) -> PasswordCheck {
        let check = self.check_password(module, password);
        match timeout(PASSWORD_CHECK_TIMEOUT, check).await {
            Ok(Ok(check)) => check,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a module's password could not be checked");
                PasswordCheck::Unavailable
            }
            Err(_) => PasswordCheck::Unavailable,
        }
    }

    async fn check_password(
        &self,
        module: &str,
        password: Option<Secret>,
    ) -> Result<PasswordCheck, PasswordCheckError> {
        let credentials = self.store.credentials(module).await?;
        let is_claimed = credentials
            .as_ref()
            .is_some_and(|credentials| credentials.is_claimed);
        let Some(password) = password else {
            return Ok(PasswordCheck::accepted_if(
                is_claimed && self.config.trust_clients,
            ));
        };
        let permit = Arc::clone(&self.password_check_permits)
            .acquire_owned()
            .await?;
        let hash = credentials
            .and_then(|credentials| credentials.password_hash)
            .map(Secret::new);
        let is_match = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            password::verify(&password, hash.as_ref())
        });
        Ok(PasswordCheck::accepted_if(is_match.await? && is_claimed))
    }

    /// Returns the first two messages to an authenticated device, with its last known state.
    pub(super) fn connected_messages(&self, module: &str) -> [Value; 2] {
        let state = self.service.lock();
        let telemetry = state
            .registry
            .get(module)
            .and_then(|module| module.telemetry.as_deref());
        let last = |name: &str| telemetry.and_then(|telemetry| telemetry.get(name)).cloned();
        frame::connected_messages(
            &last("uptime").unwrap_or(json!(0)),
            &last("position").unwrap_or(Value::Null),
        )
    }

    /// Parses a command for a device from the payload of an event.
    #[expect(clippy::unused_self, reason = "said of the app's own events")]
    pub(super) fn parse_command(&self, payload: &str) -> Option<DeviceCommand> {
        serde_json::from_str(payload).ok()
    }

    /// Gives an authenticated web client the topics of its identity, and removes those of an
    /// earlier one.
    pub(super) fn set_client_identity(
        &self,
        conn: ConnectionId,
        user: &WebUser,
        page: Option<WebPage>,
    ) {
        let role = if user.is_admin { "admin" } else { "user" };
        let identity = Identity {
            user: Some(user.id.clone()),
            session: None,
            role: Some(role.into()),
        };
        // This fails only if the connection is closed.
        let _ = self
            .service
            .event_bus
            .set_identity(conn, identity, &topics::joins_for(user, page));
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

    /// Assigns a module to a user that knows its code. Returns `true` if the module is online.
    ///
    /// # Errors
    /// Returns the reason, which the client receives as text.
    pub(super) async fn claim_module(
        &self,
        user: &WebUser,
        module: &str,
        code: &Secret,
    ) -> Result<bool, ClaimError> {
        let counters = [
            format!("user:{}", user.id.as_str()),
            format!("module:{module}"),
        ];
        if counters.iter().any(|counter| {
            self.wrong_codes
                .get(counter)
                .is_some_and(|wrong| wrong >= MAX_WRONG_CODES)
        }) {
            return Err(ClaimError::TooManyWrongCodes);
        }
        match self.store.claim(module, code, user.id.as_str()).await {
            Ok(true) => {}
            Ok(false) => {
                for counter in counters {
                    let wrong = self.wrong_codes.get(&counter).unwrap_or_default();
                    self.wrong_codes.insert(counter, wrong + 1);
                }
                return Err(ClaimError::WrongCode);
            }
            Err(error) => {
                tracing::warn!(%error, "a module could not be claimed");
                return Err(ClaimError::Unavailable);
            }
        }
        // The trigger reports the change as well; the first of the two reads publishes it.
        let _ = self.sync_rows(&[module.to_owned()]).await;
        Ok(self
            .service
            .lock()
            .registry
            .get(module)
            .is_some_and(|module| module.online))
    }

    /// Returns the instant that corresponds to this Unix second, at most an hour ahead.
    pub(super) fn instant_at(&self, unix_s: i64) -> Instant {
        let wait = u64::try_from(unix_s - self.service.now() / 1000).unwrap_or(0);
        // The limit makes the caller check again, because the wall clock may jump.
        Instant::now() + Duration::from_secs(wait.clamp(1, 3600))
    }
}
