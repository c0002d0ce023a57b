//! The engine's reads in progress: requested, then executed at one moment of the database, then
//! answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::database_model::{DatabaseModel, zone};
use crate::topics::{key_number, stream_number, topic};
use latido_base::ident::Key;
use latido_engine::{
    OpenTransaction, ReadError, ReadFuture, ReadRow, SnapshotReader, TransactionSource,
};
use latido_stream::{LocalDay, Stream, StreamProblem, StreamRow};

/// The time within which a statement ends, whatever the database does.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// The key whose reads take long.
const HEAVY_KEY: u8 = 5;

type RowsResult = Result<Vec<ReadRow>, ReadError>;
type ZonesResult = Result<HashMap<Key, String>, ReadError>;
type TransactionsResult = Result<Vec<OpenTransaction>, ReadError>;

/// A read statement in progress.
pub(super) struct SimulatedRead {
    pub(super) keys: Vec<u8>,
    pub(super) asked: Instant,
    /// The number of commits that it saw, set when it was executed.
    pub(super) seen: Option<u64>,
    pub(super) what: ReadKind,
}

/// The way in which a statement fails without a result of the database model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFault {
    Rejected,
    Unavailable,
}

/// The keys that a result proves to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailingKeys {
    None,
    One(u8),
    OfStream(u8),
}

/// The kind of a statement, with its result.
pub(super) enum ReadKind {
    Rows {
        todays: Vec<LocalDay>,
        rows: Option<RowsResult>,
        answer: oneshot::Sender<RowsResult>,
    },
    Zones {
        answer: oneshot::Sender<ZonesResult>,
    },
    /// The open transactions, of which no key is read.
    Transactions {
        open: Option<TransactionsResult>,
        answer: oneshot::Sender<TransactionsResult>,
    },
}

/// The statements that the engine requested. The actor adds them and the world removes them; both
/// run on one thread.
#[derive(Clone, Default)]
pub(super) struct ReadQueue(pub(super) Arc<Mutex<Vec<SimulatedRead>>>);

fn connection_lost<T>(_: oneshot::error::RecvError) -> Result<T, ReadError> {
    Err(ReadError::Unavailable("gone".to_owned()))
}

impl ReadQueue {
    fn push(&self, keys: &[Key], what: ReadKind) {
        let keys = keys.iter().map(key_number).collect();
        self.0.lock().unwrap().push(SimulatedRead {
            keys,
            asked: latido_base::clock::monotonic_now(),
            seen: None,
            what,
        });
    }
}

impl SnapshotReader for ReadQueue {
    fn read<'a>(
        &'a self,
        _: &'a Stream,
        keys: &'a [Key],
        todays: &'a [LocalDay],
    ) -> ReadFuture<'a, Vec<ReadRow>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.push(
                keys,
                ReadKind::Rows {
                    todays: todays.to_vec(),
                    rows: None,
                    answer,
                },
            );
            answered.await.unwrap_or_else(connection_lost)
        })
    }

    fn zones<'a>(&'a self, _: &'a Stream, keys: &'a [Key]) -> ReadFuture<'a, HashMap<Key, String>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.push(keys, ReadKind::Zones { answer });
            answered.await.unwrap_or_else(connection_lost)
        })
    }
}

impl TransactionSource for ReadQueue {
    fn open_transactions(&self) -> ReadFuture<'_, Vec<OpenTransaction>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.push(&[], ReadKind::Transactions { open: None, answer });
            answered.await.unwrap_or_else(connection_lost)
        })
    }
}

impl SimulatedRead {
    /// Executes the statement: the result is the currently visible state, whenever it arrives.
    pub(super) fn execute(&mut self, database: &DatabaseModel) {
        if self.seen.is_some() {
            return;
        }
        self.seen = Some(database.commits);
        match &mut self.what {
            ReadKind::Rows { todays, rows, .. } => {
                *rows = Some(select_rows(database, &self.keys, todays));
            }
            ReadKind::Transactions { open, .. } => {
                let down = || ReadError::Unavailable("the database is down".to_owned());
                let found = database.is_up.then(|| database.open_transactions());
                *open = Some(found.ok_or_else(down));
            }
            ReadKind::Zones { .. } => {}
        }
    }

    /// Returns whether the result will be the true row of a key, or an error, which causes another
    /// read. Before the execution it may be either.
    pub(super) fn will_return(&self, key: u8, truth: &str) -> bool {
        let Some(at) = self.keys.iter().position(|read| *read == key) else {
            return false;
        };
        match &self.what {
            ReadKind::Rows {
                rows: Some(Ok(rows)),
                ..
            } => rows[at].row.columns == truth,
            ReadKind::Rows { .. } | ReadKind::Zones { .. } | ReadKind::Transactions { .. } => true,
        }
    }

    /// Returns the keys whose viewers must be told after this result: a key that was refused alone,
    /// or any key of a stream that is refused.
    pub(super) fn failing_keys(&self, fails: Option<ReadFault>) -> FailingKeys {
        let ReadKind::Rows { rows, .. } = &self.what else {
            return FailingKeys::None;
        };
        let is_rejected = match (fails, rows) {
            (Some(fault), _) => fault == ReadFault::Rejected,
            (None, Some(Err(ReadError::Broken(_)))) => {
                return FailingKeys::OfStream(stream_number(self.keys[0]));
            }
            (None, rows) => matches!(rows, Some(Err(ReadError::Rejected(_)))),
        };
        match self.keys[..] {
            [key] if is_rejected => FailingKeys::One(key),
            _ => FailingKeys::None,
        }
    }

    /// Delivers the result. Returns the keys and the number of commits that the read saw, if it
    /// succeeded.
    pub(super) fn finish(self) -> Option<(Vec<u8>, u64)> {
        let Self {
            keys, seen, what, ..
        } = self;
        match what {
            ReadKind::Rows { rows, answer, .. } => {
                let rows =
                    rows.unwrap_or_else(|| Err(ReadError::Unavailable("no connection".to_owned())));
                let seen = rows.is_ok().then_some(seen).flatten();
                // The server may have gone away.
                let _ = answer.send(rows);
                seen.map(|seen| (keys, seen))
            }
            ReadKind::Zones { answer } => {
                let names = keys
                    .iter()
                    .map(|key| (Key::from_canonical(&key.to_string()), zone(*key).to_owned()));
                let _ = answer.send(Ok(names.collect()));
                None
            }
            ReadKind::Transactions { open, answer } => {
                let unavailable = || Err(ReadError::Unavailable("no connection".to_owned()));
                let _ = answer.send(open.unwrap_or_else(unavailable));
                None
            }
        }
    }

    /// Delivers an error instead of a result.
    pub(super) fn fail(self, fault: ReadFault) {
        let unavailable = ReadError::Unavailable("the connection ended".to_owned());
        match self.what {
            ReadKind::Rows { answer, .. } => {
                let error = if fault == ReadFault::Rejected {
                    ReadError::Rejected("canceling statement".to_owned())
                } else {
                    unavailable
                };
                let _ = answer.send(Err(error));
            }
            // A refused zone query means the default zone until the next sweep. That is by design
            // and not tested here.
            ReadKind::Zones { answer } => drop(answer.send(Err(unavailable))),
            ReadKind::Transactions { answer, .. } => drop(answer.send(Err(unavailable))),
        }
    }
}

fn select_rows(database: &DatabaseModel, keys: &[u8], todays: &[LocalDay]) -> RowsResult {
    if !database.is_up {
        return Err(ReadError::Unavailable("the database is down".to_owned()));
    }
    if keys
        .iter()
        .any(|key| database.broken.contains(&stream_number(*key)))
    {
        return Err(ReadError::Broken(StreamProblem {
            summary: "refused".to_owned(),
            detail: "a column does not exist".to_owned(),
        }));
    }
    if keys.iter().any(|key| database.poisoned.contains(key)) {
        return Err(ReadError::Rejected("division by zero".to_owned()));
    }
    let reading = |(key, today): (&u8, &LocalDay)| {
        let columns = database.row(*key, today.date);
        let row = StreamRow {
            key: topic(*key).key,
            columns,
            clock_us: database.clock_us,
        };
        ReadRow {
            row,
            took: Some(Duration::from_millis(if *key == HEAVY_KEY { 8 } else { 1 })),
        }
    };
    Ok(keys.iter().zip(todays).map(reading).collect())
}
