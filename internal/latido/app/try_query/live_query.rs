//! The query that the page shows: it is read while a page is open, and examined again when its file
//! changes. One statement runs at a time.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::examination::{Examined, QueryProblem, examine, read_failure};
use super::form::StreamFacts;
use super::page_messages::{self as messages, PageDescription};
use super::query_file::QueryFile;
use latido_base::clock::Clock;
use latido_base::ident::Key;
use latido_http::{RefusedKey, TriedQuery};
use latido_postgres::{Database, DatabaseError};
use latido_stream::{LocalDay, StreamRow};

/// The most keys that are read at once.
const MAX_KEYS: usize = 16;
/// The shortest pause between two reads, for a key that a page has just chosen.
const MIN_PAUSE: Duration = Duration::from_millis(200);
/// The pause after a read, as a multiple of its time: a slow query leaves the database idle for most
/// of the time.
const PAUSE_FACTOR: u32 = 4;

/// What does not change while the command runs.
pub(super) struct LiveQueryConfig {
    pub(super) database: Database,
    pub(super) file: QueryFile,
    pub(super) keys: Option<Vec<String>>,
    pub(super) initial_key: Option<String>,
    pub(super) every: Duration,
    pub(super) zone: TimeZone,
    /// The IANA name of `zone`.
    pub(super) zone_name: String,
    pub(super) next: Vec<String>,
}

impl LiveQueryConfig {
    /// Examines a text of the query.
    pub(super) async fn examine(&self, text: &str) -> Result<Examined, QueryProblem> {
        let facts = StreamFacts {
            name: &self.file.name,
            time_zone: &self.zone_name,
            keys: self.keys.as_deref(),
        };
        examine(&self.database, text, &facts).await
    }
}

/// The query in its current version.
struct QueryVersion {
    generation: u64,
    examined: Examined,
}

/// A key that pages show.
struct FollowedKey {
    message: watch::Sender<Arc<str>>,
    /// True once the key was read.
    is_read: bool,
    /// The columns of the last row, or `None` if there was none.
    columns: Option<String>,
    changed_ms: i64,
}

/// The query with its rows.
pub(super) struct LiveQuery {
    config: LiveQueryConfig,
    clock: Clock,
    version: RwLock<Arc<QueryVersion>>,
    text: watch::Sender<Arc<str>>,
    followed: Mutex<HashMap<Key, FollowedKey>>,
    chosen: Notify,
}

impl LiveQuery {
    pub(super) fn new(config: LiveQueryConfig, examined: Examined) -> Self {
        let (text, _) = watch::channel(text_state(1, None));
        Self {
            config,
            clock: Clock::system(),
            version: RwLock::new(Arc::new(QueryVersion {
                generation: 1,
                examined,
            })),
            text,
            followed: Mutex::default(),
            chosen: Notify::new(),
        }
    }

    fn current(&self) -> Arc<QueryVersion> {
        let version = self.version.read();
        Arc::clone(&version.unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the query for as long as this is polled. `text` is the text that was examined.
    pub(super) async fn run(&self, text: String) {
        let mut known = Some(text);
        loop {
            let started = Instant::now();
            let text = self.follow_file(&mut known).await;
            self.read_followed().await;
            let pause = self.config.every.max(started.elapsed() * PAUSE_FACTOR);
            self.pause(pause, text.as_deref()).await;
        }
    }

    /// Waits until the next read is due. Another text of the file, and a key that a page chooses, do
    /// not wait for the pause after a slow query.
    async fn pause(&self, pause: Duration, text: Option<&str>) {
        sleep(MIN_PAUSE).await;
        let other_text = async {
            loop {
                sleep(self.config.every).await;
                if self.read_file().await.ok().as_deref() != text {
                    return;
                }
            }
        };
        let news = async {
            tokio::select! {
                () = other_text => {}
                () = self.chosen.notified() => {}
            }
        };
        let _early = timeout(pause.saturating_sub(MIN_PAUSE), news).await;
    }

    async fn read_file(&self) -> io::Result<String> {
        let file = self.config.file.clone();
        let read = tokio::task::spawn_blocking(move || file.read()).await;
        read.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Examines the file again if its text is another one than the known one, which was accepted, or
    /// has a mistake that only another text mends. Returns the text.
    async fn follow_file(&self, known: &mut Option<String>) -> Option<String> {
        let (text, problem) = match self.read_file().await {
            Ok(text) if known.as_ref() == Some(&text) => return Some(text),
            Ok(text) => {
                let examined = self.config.examine(&text).await;
                let is_temporary = matches!(&examined, Err(problem) if problem.is_temporary);
                *known = (!is_temporary).then(|| text.clone());
                match examined {
                    Ok(examined) => {
                        self.replace(examined);
                        return Some(text);
                    }
                    Err(problem) => (Some(text), problem.message),
                }
            }
            Err(error) => {
                // The same text again mends this.
                *known = None;
                let path = self.config.file.path_text();
                (None, format!("{path} cannot be read: {error}"))
            }
        };
        let state = text_state(self.current().generation, Some(&problem));
        let is_new = self
            .text
            .send_if_modified(|old| replace_if_other(old, state));
        if is_new {
            let file = self.config.file.path_text();
            tracing::warn!(file, problem, "the changed file is not shown");
        }
        text
    }

    /// Shows another version of the query. Pages then ask for it anew.
    fn replace(&self, examined: Examined) {
        let generation = self.current().generation + 1;
        let version = QueryVersion {
            generation,
            examined,
        };
        let mut current = self.version.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(version);
        drop(current);
        self.lock_followed().clear();
        self.text.send_replace(text_state(generation, None));
        tracing::info!(file = self.config.file.path_text(), "the file has changed");
    }

    fn lock_followed(&self) -> std::sync::MutexGuard<'_, HashMap<Key, FollowedKey>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the keys that are shown, in one statement. If it fails, each key is read alone, so that
    /// one key's error is not that of the others.
    async fn read_followed(&self) {
        let version = self.current();
        let keys: Vec<Key> = {
            let mut followed = self.lock_followed();
            followed.retain(|_, key| key.message.receiver_count() > 0);
            followed.keys().cloned().collect()
        };
        if keys.is_empty() {
            return;
        }
        match self.read(&version, &keys).await {
            Err(DatabaseError::Rejected { .. }) if keys.len() > 1 => {
                for key in keys {
                    let result = self.read(&version, std::slice::from_ref(&key)).await;
                    self.publish(&version, &[key], result);
                }
            }
            result => self.publish(&version, &keys, result),
        }
    }

    async fn read(
        &self,
        version: &QueryVersion,
        keys: &[Key],
    ) -> Result<Vec<StreamRow>, DatabaseError> {
        let today = LocalDay::at(self.clock.now(), &self.config.zone);
        let todays = vec![today; keys.len()];
        let stream = &version.examined.stream;
        self.config.database.read(stream, keys, &todays).await
    }

    fn publish(
        &self,
        version: &QueryVersion,
        keys: &[Key],
        result: Result<Vec<StreamRow>, DatabaseError>,
    ) {
        let Examined { stream, form, .. } = &version.examined;
        let now_ms = self.clock.now().as_millisecond();
        let order = self.config.database.columns(stream).unwrap_or_default();
        let mut followed = self.lock_followed();
        let rows: Result<HashMap<Key, String>, _> =
            result.map(|rows| rows.into_iter().map(|row| (row.key, row.columns)).collect());
        for key in keys {
            let Some(shown) = followed.get_mut(key) else {
                continue;
            };
            let message = match &rows {
                Ok(rows) => {
                    let row = rows.get(key);
                    if !shown.is_read || shown.columns.as_ref() != row {
                        shown.is_read = true;
                        shown.columns = row.cloned();
                        shown.changed_ms = now_ms;
                    }
                    messages::live(&order, row.map(String::as_str), form, shown.changed_ms)
                }
                Err(error) => messages::failed(&read_failure(error)),
            };
            shown
                .message
                .send_if_modified(|old| replace_if_other(old, message.into()));
        }
    }
}

impl TriedQuery for LiveQuery {
    fn description(&self) -> String {
        let version = self.current();
        PageDescription {
            examined: &version.examined,
            generation: version.generation,
            file: &self.config.file.path_text(),
            every_ms: self.config.every.as_millis(),
            initial_key: self.config.initial_key.as_deref(),
            next: &self.config.next,
        }
        .to_json()
    }

    fn watch_text(&self) -> watch::Receiver<Arc<str>> {
        self.text.subscribe()
    }

    fn follow(&self, key: &str) -> Result<watch::Receiver<Arc<str>>, RefusedKey> {
        let version = self.current();
        let key = parse_key(&version.examined, key)?;
        let mut followed = self.lock_followed();
        followed.retain(|_, key| key.message.receiver_count() > 0);
        if followed.len() >= MAX_KEYS && !followed.contains_key(&key) {
            let message = format!("pages show {MAX_KEYS} other keys; expected at most {MAX_KEYS}");
            return Err(RefusedKey(message));
        }
        let entry = followed.entry(key).or_insert_with(|| {
            let (message, _) = watch::channel(Arc::from(messages::waiting()));
            FollowedKey {
                message,
                is_read: false,
                columns: None,
                changed_ms: 0,
            }
        });
        let receiver = entry.message.subscribe();
        self.chosen.notify_one();
        Ok(receiver)
    }
}

/// Returns the canonical form of a key with its parameters.
pub(super) fn parse_key(examined: &Examined, text: &str) -> Result<Key, RefusedKey> {
    let stream = &examined.stream;
    let types = stream.key_types.get().map(Vec::as_slice);
    stream
        .parse_key(types.unwrap_or_default(), text)
        .map_err(|error| RefusedKey(format!("{text:?} is not a key of this query: {error}")))
}

fn text_state(generation: u64, problem: Option<&str>) -> Arc<str> {
    json!({"generation": generation, "problem": problem})
        .to_string()
        .into()
}

fn replace_if_other(old: &mut Arc<str>, new: Arc<str>) -> bool {
    let is_other = *old != new;
    *old = new;
    is_other
}
