//! Reads moved keys again, once the transactions that were open at the time of the move have ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actor::{EngineActor, EngineEvent};
use crate::hint_source::HintSource;
use crate::moved_keys::MovedOfStream;
use latido_base::clock::monotonic_now;
use latido_protocol::Staleness;
use latido_stream::{OpenTransaction, ReadError};

impl EngineActor {
    /// Returns the time of the next query for the open transactions. There is none while the
    /// database is away. While its connections are being opened, it waits like a read.
    pub(super) fn next_transaction_query(&self, now: Instant) -> Option<Instant> {
        let is_away = self.database_health.staleness(now, Duration::ZERO) != Staleness::Fresh;
        let next = self.shared.lock().moved.next_query();
        let held = self.shared.sleep.reads_wait_until(now);
        let next = next.map(|at| held.map_or(at, |until| until.max(at)));
        next.filter(|_| !is_away)
    }

    /// Starts a query for the open transactions, if one is due.
    pub(super) fn start_transaction_query(&mut self) {
        let now = monotonic_now();
        if self.next_transaction_query(now).is_none_or(|at| at > now) {
            return;
        }
        self.shared.lock().moved.start_query();
        let source = Arc::clone(&self.deps.transactions);
        self.statements.push(Box::pin(async move {
            EngineEvent::TransactionsRead(source.open_transactions().await)
        }));
    }

    /// Marks the moved keys whose transactions have ended.
    pub(super) fn on_transactions(&mut self, result: Result<Vec<OpenTransaction>, ReadError>) {
        let now = monotonic_now();
        if let Err(error) = &result {
            tracing::debug!(%error, "could not see which transactions are open; trying again");
        }
        let mut state = self.shared.lock();
        for (stream, moved) in state.moved.finish_query(result.ok(), now) {
            match moved {
                MovedOfStream::Every => {
                    state.dirty.mark_all(Some(stream), HintSource::Move, now);
                }
                MovedOfStream::Keys(keys) => {
                    for key in keys {
                        state.mark_key(&key, HintSource::Move, now);
                    }
                }
            }
        }
    }
}
