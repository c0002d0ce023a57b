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
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::UserId;
use latido_event_bus::{ConnectionId, PresenceDiff, EventBus, Identity, PresenceMode, Publish, TopicPolicy, TopicName};
use latido_postgres as postgres;
use latido_postgres::apps::modules::{ModulesDatabase, RowHint};

use crate::config::Config;
use crate::dates::{Millis, iso};
use crate::device::conversation::Conversation;
use crate::device::frame;
use crate::device::password::{self, Digests};
use crate::harbour::Harbour;
use crate::identity::{Person, Proof};
use crate::news::Locale;
use crate::office::Office;
use crate::page::Page;
use crate::people::People;
use crate::socket::Pages;
use crate::store::Store;
use crate::{rows, stats, topics};

/// The interval between saves of modules that came online or went offline. Every `FULL_SAVE_ROUNDS`
/// rounds all other changes are saved too, because telemetry changes with every frame.
const SAVE_EVERY: Duration = Duration::from_secs(1);
const SAVE_ALL: u32 = 5;
/// The largest number of modules in one save statement.
const SAVE_ROWS: usize = 500;
/// The largest number of queued hints of changed rows. If the queue is full, all rows are read.
const HINTS: usize = 256;
/// The pause before failed row reads are repeated.
const RETRY: Duration = Duration::from_secs(1);
/// The time limit of a device's password check.
const CHECK_LIMIT: Duration = Duration::from_secs(8);
/// The number of wrong codes per user and per module within an hour, after which claims are
/// refused.
const WRONG_CODES: u32 = 10;
const WRONG_CODES_KEPT: Duration = Duration::from_secs(3600);

/// The running app, shared by its routes, sockets and tasks.
pub(super) struct Modules {
    pub(super) office: Arc<Office>,
    pub(super) people: People,
    pub(super) store: Arc<dyn Store>,
    pub(super) config: Config,
    pub(super) drain: Drain,
    digests: Digests,
    /// Half as many permits as cores: password checks must leave CPU time for the connected
    /// clients.
    checks: Arc<Semaphore>,
    wrong_codes: Cache<String, u32>,
}

impl std::fmt::Debug for Modules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Modules").finish_non_exhaustive()
    }
}

/// The topic policy: lists the users of the common topic so that they can be counted, and announces
/// no changes.
struct Counted;

impl TopicPolicy for Counted {
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
pub(super) struct Told {
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
    let stored: Arc<dyn Store> = Arc::clone(&store) as _;
    let app = Modules::build(
        config.clone(),
        stored,
        verifier,
        deps.clock.clone(),
        deps.drain.clone(),
    )?;
    app.drain.spawn_until_stop(stats::follow(
        Arc::clone(&app.office),
        Arc::clone(&deps.hub),
        Arc::clone(&deps.catalog),
    ));
    let (hint_sender, hint_receiver) = mpsc::channel(HINTS);
    app.drain.spawn_until_stop(async move {
        store.listen(|received| hint(&hint_sender, received)).await
    });
    app.drain
        .spawn_until_stop(Arc::clone(&app).follow_rows(hint_receiver));
    let socket_app = Arc::new(Pages(Arc::clone(&app)));
    let mount = Arc::new(Harbour::new(app, deps));
    Ok(AppServices {
        socketio_apps: vec![socket_app],
        http_apps: vec![Arc::clone(&mount) as _],
        websocket_apps: vec![mount],
    })
}

/// Queues a hint. If the queue is full, the reader is behind, and the last queued hint makes it
/// read all rows.
fn hint(hint_sender: &mpsc::Sender<RowHint>, hint: RowHint) {
    if let Ok(permit) = hint_sender.try_reserve() {
        // The last slot is reserved for `Everything`, which covers all hints that find no slot.
        permit.send(if hint_sender.capacity() == 0 {
            RowHint::All
        } else {
            hint
        });
    }
}

impl Modules {
    /// Builds the app on any store, and starts its timer and save tasks.
    pub(super) fn build(
        config: Config,
        store: Arc<dyn Store>,
        verifier: Arc<Verifier>,
        clock: Clock,
        drain: Drain,
    ) -> anyhow::Result<Arc<Self>> {
        let zone = TimeZone::get(&config.time_zone).context("MODULES_TIMEZONE")?;
        let bus_clock = clock.clone();
        let event_bus = Arc::new(EventBus::new(Counted, move || {
            bus_clock.now().as_microsecond()
        }));
        let millis =
            |duration: Duration| Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX);
        let office = Office::new(
            event_bus,
            clock,
            Locale { zone },
            millis(config.group),
            millis(config.stale).max(1),
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
            office: Arc::new(office),
            people: People::new(&config, verifier, Arc::clone(&store)),
            store,
            config,
            drain,
            digests: Digests::new(&key),
            checks: Arc::new(Semaphore::new((cores / 2).max(1))),
            wrong_codes: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(WRONG_CODES_KEPT)
                .build(),
        });
        app.drain.spawn_until_stop(Arc::clone(&app).keep_time());
        let saving_app = Arc::clone(&app);
        app.drain
            .spawn(async move { saving_app.keep_state().await });
        Ok(app)
    }

    /// Runs the timers of the service when they are due.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let wait = Duration::from_millis(
                u64::try_from(self.office.next_due() - self.office.now()).unwrap_or(0),
            );
            let _ = timeout(wait, self.office.wake.notified()).await;
            self.office.due();
        }
    }

    /// Saves changed module states, and the remaining ones at shutdown. Failed saves are retried.
    async fn keep_state(&self) {
        let (mut round, mut was_saved) = (0_u32, true);
        while !self.drain.is_stopping() {
            let _ = timeout(SAVE_EVERY, self.drain.stopping()).await;
            round = round.wrapping_add(1);
            let all = round % SAVE_ALL == 0 || self.drain.is_stopping();
            loop {
                let rows = self.office.unsaved(SAVE_ROWS, all);
                if rows.is_empty() {
                    break;
                }
                let saved = self.store.save(&rows).await;
                // Logged once per outage, however long it lasts.
                if let Err(error) = &saved
                    && was_saved
                {
                    tracing::warn!(%error, modules = rows.len(), "module states could not be saved; retrying");
                }
                was_saved = saved.is_ok();
                if !was_saved {
                    self.office.still_unsaved(&rows);
                    break;
                }
            }
        }
    }

    /// Reads the rows that the hints name.
    async fn follow_rows(self: Arc<Self>, mut hint_receiver: mpsc::Receiver<RowHint>) {
        let mut is_initialised = false;
        while let Some(mut hint) = hint_receiver.recv().await {
            // A full read covers all hints that are already queued.
            while let Some(Some(more)) =
                (hint == RowHint::All).then(|| hint_receiver.recv().now_or_never().flatten())
            {
                hint = if more == RowHint::All {
                    more
                } else {
                    hint
                };
            }
            loop {
                let result = async {
                    if !is_initialised {
                        self.store.begin().await?;
                        is_initialised = true;
                    }
                    match &hint {
                        RowHint::Rows(ids) if self.office.lock().loaded => self.read_rows(ids).await,
                        RowHint::Rows(_) | RowHint::All => {
                            rows::read_all(&self.office, &*self.store, self.config.modules).await
                        }
                    }
                };
                match result.await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::warn!(%error, "the table of modules could not be read; retrying")
                    }
                }
                sleep(RETRY).await;
                // A full read covers everything that changed during the failure.
                hint = RowHint::All;
            }
        }
    }

    pub(super) async fn read_rows(&self, ids: &[String]) -> Result<(), postgres::DatabaseError> {
        rows::read(&self.office, &*self.store, ids, self.config.modules).await
    }

    /// Returns the session of a device that has not sent anything yet.
    pub(super) fn conversation(&self) -> Conversation {
        Conversation::new(
            self.office.now(),
            self.config.trust_clients,
            self.digests.clone(),
        )
    }

    /// Returns `true` if the password is the module's and the module is claimed. bcrypt is slow by
    /// design, so it runs on a blocking thread, a limited number at a time.
    ///
    /// # Errors
    /// Returns an error if the check is not possible now.
    pub(super) async fn check(&self, module: &str, password: Option<Secret>) -> Result<bool, ()> {
        let work = async {
            let credentials = self.store.credentials(module).await.map_err(|error| {
                tracing::warn!(%error, "a module's password could not be looked up");
            })?;
            let claimed = credentials
                .as_ref()
                .is_some_and(|credentials| credentials.is_claimed);
            let Some(password) = password else {
                return Ok(claimed && self.config.trust_clients);
            };
            let permit = Arc::clone(&self.checks)
                .acquire_owned()
                .await
                .map_err(drop)?;
            let hash = credentials
                .and_then(|credentials| credentials.password_hash)
                .map(Secret::new);
            let is_match = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                password::verify(&password, hash.as_ref())
            });
            Ok(is_match.await.map_err(drop)? && claimed)
        };
        timeout(CHECK_LIMIT, work).await.unwrap_or(Err(()))
    }

    /// Returns the first two messages to an authenticated device, with its last known state.
    pub(super) fn greetings(&self, module: &str) -> [Value; 2] {
        let state = self.office.lock();
        let telemetry = state
            .registry
            .get(module)
            .and_then(|module| module.telemetry.as_deref());
        let last = |name: &str| telemetry.and_then(|telemetry| telemetry.get(name)).cloned();
        frame::greetings(
            &last("uptime").unwrap_or(json!(0)),
            &last("position").unwrap_or(Value::Null),
        )
    }

    /// Parses a command for a device from the payload of an event.
    #[expect(clippy::unused_self, reason = "said of the app's own events")]
    pub(super) fn command(&self, payload: &str) -> Option<Told> {
        serde_json::from_str(payload).ok()
    }

    /// Gives an authenticated web client the topics of its identity, and removes those of an
    /// earlier one.
    pub(super) fn enter(&self, conn: ConnectionId, user: &Person, page: Option<Page>) {
        let role = if user.is_admin { "admin" } else { "user" };
        let identity = Identity {
            user: Some(user.user.clone()),
            session: None,
            role: Some(role.into()),
        };
        // This fails only if the connection is closed.
        let _ = self
            .office
            .exchange
            .set_identity(conn, identity, &topics::joins(user, page));
        self.office.touch();
    }

    /// Returns the user that a client claims to be, if the operator allows unverified clients.
    pub(super) fn trusted(&self, user: Option<&str>, is_admin: bool) -> Option<Person> {
        let user = UserId::new(user.filter(|_| self.config.trust_clients)?);
        Some(Person {
            user,
            is_admin,
            nickname: None,
            proof: Proof::Word,
        })
    }

    /// Returns the initial events of a page.
    pub(super) fn begin(&self, user: &Person, page: Option<Page>) -> Vec<(&'static str, Value)> {
        match page {
            Some(Page::Modules) => {
                vec![
                    ("modules:initial:state", self.office.states(user)),
                    ("modules_state", self.office.own_list(&user.user)),
                ]
            }
            Some(Page::Admin) if user.is_admin => {
                vec![("admin:initial:stats", self.office.stats().0["stats"].take())]
            }
            Some(Page::Dashboard) => {
                let name = user.nickname.as_deref().unwrap_or(user.user.as_str());
                let message = format!("Connected as {name}");
                vec![(
                    "dashboard:initial:summary",
                    json!({"timestamp": iso(self.office.now()), "message": message}),
                )]
            }
            Some(Page::Admin | Page::Other) | None => Vec::new(),
        }
    }

    /// Returns the two counts: of all users and modules for administrators, of the user's own
    /// modules for others.
    pub(super) fn simple_stats(&self, user: &Person) -> Value {
        if user.is_admin {
            return self.office.stats().1;
        }
        let summary = self.office.summary(user);
        json!({"users": {"online": null}, "modules": {"online": summary["onlineModules"]}, "timestamp": iso(self.office.now())})
    }

    /// Assigns a module to a user that knows its code. Returns `true` if the module is online.
    ///
    /// # Errors
    /// Returns the reason, which the client receives as text.
    pub(super) async fn claim(
        &self,
        user: &Person,
        module: &str,
        code: &Secret,
    ) -> Result<bool, &'static str> {
        let counters = [
            format!("user:{}", user.user.as_str()),
            format!("module:{module}"),
        ];
        if counters.iter().any(|counter| {
            self.wrong_codes
                .get(counter)
                .is_some_and(|wrong| wrong >= WRONG_CODES)
        }) {
            return Err("Too many wrong codes; try again later");
        }
        match self.store.claim(module, code, user.user.as_str()).await {
            Ok(true) => {}
            Ok(false) => {
                for counter in counters {
                    let wrong = self.wrong_codes.get(&counter).unwrap_or_default();
                    self.wrong_codes.insert(counter, wrong + 1);
                }
                return Err("No unclaimed module with that code");
            }
            Err(error) => {
                tracing::warn!(%error, "a module could not be claimed");
                return Err("The module can't be claimed now");
            }
        }
        // The trigger reports the change as well; the first of the two reads publishes it.
        let _ = self.read_rows(&[module.to_owned()]).await;
        Ok(self
            .office
            .lock()
            .registry
            .get(module)
            .is_some_and(|module| module.online))
    }

    /// Returns the instant that corresponds to this Unix second, at most an hour ahead.
    pub(super) fn instant_of(&self, unix_s: i64) -> Instant {
        let wait = u64::try_from(unix_s - self.office.now() / 1000).unwrap_or(0);
        // The limit makes the caller check again, because the wall clock may jump.
        Instant::now() + Duration::from_secs(wait.clamp(1, 3600))
    }
}
