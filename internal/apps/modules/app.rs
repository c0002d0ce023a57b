//! The app, built and running.

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

use crate::apps::{Parts, Served};
use crate::auth::{Secret, Verifier};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::hub::exchange::{ConnId, Diff, Exchange, Identity, Presence, Publish, Rules, TopicName};
use crate::ident::UserId;
use crate::postgres;
use crate::postgres::apps::modules::{Database, Heard};

use crate::apps::modules::config::Config;
use crate::apps::modules::dates::{Millis, iso};
use crate::apps::modules::device::conversation::Conversation;
use crate::apps::modules::device::frame;
use crate::apps::modules::device::password::{self, Digests};
use crate::apps::modules::harbour::Harbour;
use crate::apps::modules::identity::{Person, Proof};
use crate::apps::modules::news::Locale;
use crate::apps::modules::office::Office;
use crate::apps::modules::page::Page;
use crate::apps::modules::people::People;
use crate::apps::modules::socket::Pages;
use crate::apps::modules::store::Store;
use crate::apps::modules::{rows, stats, topics};

/// How often it is kept who came and went; and every how many times what they told, too, since that changes with every frame.
const SAVE_EVERY: Duration = Duration::from_secs(1);
const SAVE_ALL: u32 = 5;
/// Modules that are kept in one statement.
const SAVE_ROWS: usize = 500;
/// Hints of changed rows that may wait; beyond, everything is read.
const HINTS: usize = 256;
/// The pause before rows that could not be read are read again.
const RETRY: Duration = Duration::from_secs(1);
/// Longest time that a module waits for its password to be checked.
const CHECK_LIMIT: Duration = Duration::from_secs(8);
/// Wrong codes of one user or for one module, within the hour, before claims are refused.
const WRONG_CODES: u32 = 10;
const WRONG_CODES_KEPT: Duration = Duration::from_secs(3600);

/// The running app.
pub(super) struct Modules {
    pub(super) office: Arc<Office>,
    pub(super) people: People,
    pub(super) store: Arc<dyn Store>,
    pub(super) config: Config,
    pub(super) drain: Drain,
    digests: Digests,
    /// As many passwords at once as half the cores: the others are for whoever is connected.
    checks: Arc<Semaphore>,
    wrong_codes: Cache<String, u32>,
}

impl std::fmt::Debug for Modules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Modules").finish_non_exhaustive()
    }
}

/// Users are listed where they are counted; nobody is told of the list.
struct Counted;

impl Rules for Counted {
    fn presence(&self, topic: &TopicName) -> Presence {
        if *topic == topics::everyone() {
            Presence::Listed
        } else {
            Presence::Off
        }
    }

    fn notices(&self, _topic: &TopicName, _diff: &Diff) -> Vec<Publish> {
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
/// The time zone does not exist, a key is of no use, or there is no randomness.
pub fn start(config: &Config, parts: &Parts) -> anyhow::Result<Served> {
    let verifier = match &config.verifier {
        None => Arc::clone(&parts.verifier),
        Some(own) => {
            let verifier = Verifier::new(own, parts.clock.clone())?;
            verifier.start(&parts.drain);
            Arc::new(verifier)
        }
    };
    let store = Arc::new(Database::new(&parts.database, &config.session_sql));
    let stored: Arc<dyn Store> = Arc::clone(&store) as _;
    let app = Modules::build(
        config.clone(),
        stored,
        verifier,
        parts.clock.clone(),
        parts.drain.clone(),
    )?;
    app.drain.spawn_until_stop(stats::follow(
        Arc::clone(&app.office),
        Arc::clone(&parts.hub),
        Arc::clone(&parts.catalog),
    ));
    let (tell, told) = mpsc::channel(HINTS);
    app.drain
        .spawn_until_stop(async move { store.listen(|heard| hint(&tell, heard)).await });
    app.drain
        .spawn_until_stop(Arc::clone(&app).follow_rows(told));
    let pages = Arc::new(Pages(Arc::clone(&app)));
    let harbour = Arc::new(Harbour::new(app, parts));
    Ok(Served {
        dialects: vec![pages],
        sites: vec![Arc::clone(&harbour) as _],
        piers: vec![harbour],
    })
}

/// Passes a hint on. Where there is no room the reader is behind, and what it takes last is made to mean everything.
fn hint(tell: &mpsc::Sender<Heard>, heard: Heard) {
    if let Ok(permit) = tell.try_reserve() {
        // The last place is kept for the word that covers whatever finds none.
        permit.send(if tell.capacity() == 0 {
            Heard::Everything
        } else {
            heard
        });
    }
}

impl Modules {
    /// The app on any store, with its own clockwork running.
    pub(super) fn build(
        config: Config,
        store: Arc<dyn Store>,
        verifier: Arc<Verifier>,
        clock: Clock,
        drain: Drain,
    ) -> anyhow::Result<Arc<Self>> {
        let zone = TimeZone::get(&config.time_zone).context("MODULES_TIMEZONE")?;
        let ticks = clock.clone();
        let exchange = Arc::new(Exchange::new(Counted, move || ticks.now().as_microsecond()));
        let millis =
            |duration: Duration| Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX);
        let office = Office::new(
            exchange,
            clock,
            Locale { zone },
            millis(config.group),
            millis(config.stale).max(1),
        );
        let mut key = [0; 32];
        getrandom::fill(&mut key).context("no randomness")?;
        if config.trust_clients {
            tracing::warn!(
                "MODULES_TRUST_CLIENTS is on: whoever reaches this server can be any user, administrator or module"
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
        let keeper = Arc::clone(&app);
        app.drain.spawn(async move { keeper.keep_state().await });
        Ok(app)
    }

    /// Says what was held back, when it is due.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let wait = Duration::from_millis(
                u64::try_from(self.office.next_due() - self.office.now()).unwrap_or(0),
            );
            let _ = timeout(wait, self.office.wake.notified()).await;
            self.office.due();
        }
    }

    /// Keeps what has changed, and at the end what is left. What could not be kept is tried again.
    async fn keep_state(&self) {
        let (mut round, mut well) = (0_u32, true);
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
                // Said once, however long it lasts.
                if let Err(error) = &saved
                    && well
                {
                    tracing::warn!(%error, modules = rows.len(), "what is known of modules could not be kept; trying again");
                }
                well = saved.is_ok();
                if !well {
                    self.office.still_unsaved(&rows);
                    break;
                }
            }
        }
    }

    /// Reads the rows that somebody changed.
    async fn follow_rows(self: Arc<Self>, mut told: mpsc::Receiver<Heard>) {
        let mut begun = false;
        while let Some(mut heard) = told.recv().await {
            // Whatever else waits costs no second read of everything.
            while let Some(Some(more)) =
                (heard == Heard::Everything).then(|| told.recv().now_or_never().flatten())
            {
                heard = if more == Heard::Everything {
                    more
                } else {
                    heard
                };
            }
            loop {
                let result = async {
                    if !begun {
                        self.store.begin().await?;
                        begun = true;
                    }
                    match &heard {
                        Heard::Rows(ids) if self.office.lock().loaded => self.read_rows(ids).await,
                        Heard::Rows(_) | Heard::Everything => {
                            rows::read_all(&self.office, &*self.store, self.config.modules).await
                        }
                    }
                };
                match result.await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::warn!(%error, "the table of modules could not be read; trying again")
                    }
                }
                sleep(RETRY).await;
                // What was missed meanwhile is in everything.
                heard = Heard::Everything;
            }
        }
    }

    pub(super) async fn read_rows(&self, ids: &[String]) -> Result<(), postgres::DatabaseError> {
        rows::read(&self.office, &*self.store, ids, self.config.modules).await
    }

    /// A device that has said nothing yet.
    pub(super) fn conversation(&self) -> Conversation {
        Conversation::new(
            self.office.now(),
            self.config.trust_clients,
            self.digests.clone(),
        )
    }

    /// Whether that is the password of that module, and the module is somebody's. An error: it can't be found out now. bcrypt is slow by
    /// design: it runs on a thread of its own, a few at a time.
    pub(super) async fn check(&self, module: &str, password: Option<Secret>) -> Result<bool, ()> {
        let work = async {
            let found = self.store.credentials(module).await.map_err(|error| {
                tracing::warn!(%error, "a module's password could not be looked up");
            })?;
            let claimed = found.as_ref().is_some_and(|found| found.claimed);
            let Some(password) = password else {
                return Ok(claimed && self.config.trust_clients);
            };
            let permit = Arc::clone(&self.checks)
                .acquire_owned()
                .await
                .map_err(drop)?;
            let hash = found.and_then(|found| found.password_hash).map(Secret::new);
            let judged = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                password::verify(&password, hash.as_ref())
            });
            Ok(judged.await.map_err(drop)? && claimed)
        };
        timeout(CHECK_LIMIT, work).await.unwrap_or(Err(()))
    }

    /// What it is greeted with: what was last known of it.
    pub(super) fn greetings(&self, module: &str) -> [Value; 2] {
        let state = self.office.lock();
        let told = state
            .registry
            .get(module)
            .and_then(|module| module.telemetry.as_deref());
        let last = |name: &str| told.and_then(|told| told.get(name)).cloned();
        frame::greetings(
            &last("uptime").unwrap_or(json!(0)),
            &last("position").unwrap_or(Value::Null),
        )
    }

    /// What the exchange carries to devices.
    #[expect(clippy::unused_self, reason = "said of the app's own events")]
    pub(super) fn command(&self, payload: &str) -> Option<Told> {
        serde_json::from_str(payload).ok()
    }

    /// A web client has proved who it is: it hears what that identity may hear, and nothing of what it heard before.
    pub(super) fn enter(&self, conn: ConnId, person: &Person, page: Option<Page>) {
        let role = if person.is_admin { "admin" } else { "user" };
        let identity = Identity {
            user: Some(person.user.clone()),
            session: None,
            role: Some(role.into()),
        };
        // It fails only for a connection that is gone.
        let _ = self
            .office
            .exchange
            .identify(conn, identity, &topics::joins(person, page));
        self.office.touch();
    }

    /// Who a client says it is, where the operator wants that believed.
    pub(super) fn trusted(&self, user: Option<&str>, is_admin: bool) -> Option<Person> {
        let user = UserId::new(user.filter(|_| self.config.trust_clients)?);
        Some(Person {
            user,
            is_admin,
            nickname: None,
            proof: Proof::Word,
        })
    }

    /// What a page begins with.
    pub(super) fn begin(&self, person: &Person, page: Option<Page>) -> Vec<(&'static str, Value)> {
        match page {
            Some(Page::Modules) => {
                vec![
                    ("modules:initial:state", self.office.states(person)),
                    ("modules_state", self.office.own_list(&person.user)),
                ]
            }
            Some(Page::Admin) if person.is_admin => {
                vec![("admin:initial:stats", self.office.stats().0["stats"].take())]
            }
            Some(Page::Dashboard) => {
                let name = person.nickname.as_deref().unwrap_or(person.user.as_str());
                let message = format!("Connected as {name}");
                vec![(
                    "dashboard:initial:summary",
                    json!({"timestamp": iso(self.office.now()), "message": message}),
                )]
            }
            Some(Page::Admin | Page::Other) | None => Vec::new(),
        }
    }

    /// The two counts: of everybody for administrators, of their own for others.
    pub(super) fn simple_stats(&self, person: &Person) -> Value {
        if person.is_admin {
            return self.office.stats().1;
        }
        let own = self.office.summary(person);
        json!({"users": {"online": null}, "modules": {"online": own["onlineModules"]}, "timestamp": iso(self.office.now())})
    }

    /// Gives somebody a module whose code they know; whether it is online, or why not.
    pub(super) async fn claim(
        &self,
        person: &Person,
        module: &str,
        code: &Secret,
    ) -> Result<bool, &'static str> {
        let counters = [
            format!("user:{}", person.user.as_str()),
            format!("module:{module}"),
        ];
        if counters.iter().any(|counter| {
            self.wrong_codes
                .get(counter)
                .is_some_and(|wrong| wrong >= WRONG_CODES)
        }) {
            return Err("Too many wrong codes; try again later");
        }
        match self.store.claim(module, code, person.user.as_str()).await {
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
        // The trigger tells as well; whoever comes first.
        let _ = self.read_rows(&[module.to_owned()]).await;
        Ok(self
            .office
            .lock()
            .registry
            .get(module)
            .is_some_and(|module| module.online))
    }

    /// When that second comes.
    pub(super) fn instant_of(&self, unix_s: i64) -> Instant {
        let wait = u64::try_from(unix_s - self.office.now() / 1000).unwrap_or(0);
        // A clock that jumps is looked at again.
        Instant::now() + Duration::from_secs(wait.clamp(1, 3600))
    }
}
