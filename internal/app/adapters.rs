//! What one part asks for, answered by another that it must not know.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::civil::Date;

use crate::apps::messaging;
use crate::auth::{Lookup, LookupError, LookupFuture};
use crate::demo::Statements;
use crate::engine::{Answer, Arming, Engine, Interest, ReadError, Reader, Reading, Source};
use crate::http::Shapes;
use crate::ident::{Key, Topic, UserId};
use crate::operations::{Readiness, Report, StreamReport};
use crate::postgres::{
    self, Database, DatabaseError, Declared, Listener, ListenerState, Notice, Scripts,
};
use crate::stream::{Catalog, Column, Stream};
use crate::telemetry::{Kind, Metrics};

/// The engine reads from Postgres.
pub(super) struct Reads(pub(super) Database);

impl Reader for Reads {
    fn read<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
        todays: &'a [Date],
    ) -> Answer<'a, Vec<Reading>> {
        Box::pin(async move {
            let rows = self
                .0
                .read_timed(stream, keys, todays)
                .await
                .map_err(read_error)?;
            Ok(rows
                .into_iter()
                .map(|(row, took)| Reading { row, took })
                .collect())
        })
    }

    fn differences<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
        todays: &'a [Date],
    ) -> Answer<'a, Vec<Key>> {
        Box::pin(async move {
            self.0
                .differences(stream, keys, todays)
                .await
                .map_err(read_error)
        })
    }

    fn zones<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
    ) -> Answer<'a, HashMap<Key, String>> {
        Box::pin(async move { self.0.zones(stream, keys).await.map_err(read_error) })
    }
}

fn read_error(error: DatabaseError) -> ReadError {
    match error {
        DatabaseError::Unavailable { .. } => ReadError::Unavailable(error.to_string()),
        DatabaseError::Rejected { .. } | DatabaseError::Unfit { .. } => {
            ReadError::Rejected(error.to_string())
        }
    }
}

/// The demo writes to Postgres.
pub(super) struct Writes(pub(super) Scripts);

impl Statements for Writes {
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(async move { Ok(self.0.execute(sql).await?) })
    }
}

/// The policy asks Postgres.
pub(super) struct Lookups(pub(super) Database);

impl Lookup for Lookups {
    fn allowed<'a>(
        &'a self,
        stream: &'a Stream,
        user: &'a UserId,
        key: &'a Key,
    ) -> LookupFuture<'a> {
        Box::pin(async move {
            let keys = self
                .0
                .allowed(stream, user, std::slice::from_ref(key))
                .await;
            keys.map(|keys| keys.contains(key))
                .map_err(|error| LookupError(error.to_string().into()))
        })
    }
}

/// What the listener hears goes to the engine.
pub(super) fn sink(
    engine: Engine,
    metrics: Arc<Metrics>,
    messaging: messaging::Hints,
) -> impl Fn(Notice) + Send + Sync + 'static {
    let tell = move |state| metrics.journal.note(Kind::Listener, state, None);
    move |notice| match notice {
        Notice::Changed { stream, keys } => {
            for key in keys {
                engine.changed(&Topic { stream, key }, Source::Trigger);
            }
        }
        Notice::Everything(stream) => {
            engine.everything(stream, Source::Trigger);
            if stream.is_none() {
                messaging.look();
            }
        }
        // Reading at the loss, too, shows at once whether the database is away, and tells viewers if it is.
        Notice::Lost | Notice::Listening => {
            tell(if notice == Notice::Lost {
                "lost"
            } else {
                "listening"
            });
            messaging.set_heard(notice == Notice::Listening);
            engine.everything(None, Source::Resync);
        }
        Notice::Deaf => {
            tell("deaf");
            messaging.set_heard(false);
        }
        Notice::App(app) if app == messaging::NAME => messaging.look(),
        Notice::App(_) => {}
    }
}

/// The engine declares its interest in keys in Postgres.
pub(super) struct Declares(pub(super) postgres::Interest);

impl Interest for Declares {
    fn watch(&self, topic: &Topic) -> Arming {
        self.0.add(topic).into()
    }

    fn unwatch(&self, topic: &Topic) {
        self.0.remove(topic);
    }

    fn relax(&self, topic: &Topic) -> bool {
        self.0.relax(topic)
    }
}

/// What became of the declarations goes back to the engine.
pub(super) fn declared(engine: Engine) -> impl Fn(Declared) + Send + Sync + 'static {
    move |declared| match declared {
        Declared::Armed(topics) => engine.armed(&topics),
        // Until it is declared again the sweep is faster; and then everything is read.
        Declared::Lost => engine.set_covered(false),
    }
}

/// The published documents tell what Postgres said of the queries.
pub(super) struct Described(pub(super) Database);

impl Shapes for Described {
    fn columns(&self, stream: &Stream) -> Option<Vec<Column>> {
        self.0.columns(stream)
    }
}

/// `/ready` looks at the database, the listener and the streams.
pub(super) struct Ready {
    pub(super) database: Database,
    pub(super) catalog: Arc<Catalog>,
    pub(super) ears: Listener,
}

impl Readiness for Ready {
    fn report(&self) -> BoxFuture<'_, Report> {
        Box::pin(async {
            // Why in detail stands in the log; strangers may read this answer.
            let database = self
                .database
                .check()
                .await
                .map_err(|_| "the database does not answer".to_owned());
            let streams = self
                .catalog
                .iter()
                .map(|(_, stream)| report(stream))
                .collect();
            let ready = database.is_ok() && self.catalog.is_ready();
            Report {
                ready,
                database,
                listener: state(self.ears.state()),
                streams,
            }
        })
    }
}

fn report(stream: &Stream) -> StreamReport {
    let problem = stream
        .key_type
        .get()
        .is_none()
        .then(|| "its query has not been prepared yet".to_owned());
    StreamReport {
        name: stream.name.clone(),
        problem,
    }
}

/// A server without a listener still serves: the hook and the sweep go on. So it is reported, and no reason to be taken out of service.
fn state(state: ListenerState) -> &'static str {
    match state {
        ListenerState::Connecting => "connecting",
        ListenerState::Listening => "listening",
        ListenerState::Deaf => "deaf",
    }
}
