//! The state that the engine's entry point and its actor share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::hot_keys::PollingChange;
use crate::missed_changes::MissedChanges;
use crate::moved_keys::MovedKeys;
use tokio::sync::{Notify, oneshot};

use crate::dirty_set::{DirtySet, MarkOutcome};
use crate::hint_source::HintSource;
use crate::history_queue::HistoryQueue;
use crate::read_pacing::ReadPacing;
use latido_base::ident::Topic;
use latido_base::sleep::Sleep;
use latido_hub::HistoryReply;
use latido_stream::{Interest, NotifyState};
use latido_telemetry::Metrics;

/// The sender that notifies a waiting task that its read ended; `true` if it succeeded.
pub(super) type ReadWaiter = oneshot::Sender<bool>;

/// A client's request for a history.
#[derive(Debug)]
pub(super) struct HistoryRequest {
    /// The name of the channel as the client wrote it.
    pub(super) name: Arc<str>,
    pub(super) reply: HistoryReply,
}

pub(super) struct EngineState {
    pub(super) dirty: DirtySet<ReadWaiter>,
    pub(super) missed_changes: MissedChanges,
    pub(super) moved: MovedKeys,
    pub(super) history: HistoryQueue<HistoryRequest>,
}

impl EngineState {
    /// Marks all topics of a key, which is a topic without parameters. Returns the outcome that says
    /// most.
    pub(super) fn mark_key(
        &mut self,
        key: &Topic,
        source: HintSource,
        now: Instant,
    ) -> MarkOutcome {
        let others = self.dirty.other_topics(key);
        let mut mark = |topic: &Topic| {
            self.missed_changes.clear_notified(topic);
            self.dirty.mark(topic, source, now)
        };
        let own = mark(key);
        others.iter().map(mark).fold(own, MarkOutcome::max)
    }
}

pub(super) struct EngineShared {
    /// The pacing of streams that set no interval of their own.
    pub(super) pacing: ReadPacing,
    /// The dirty set and the suspected missed changes. All sources of hints write it and the actor
    /// empties it. The lock is held for look-ups only.
    pub(super) state: Mutex<EngineState>,
    /// The signal that `state` has something new for the actor.
    pub(super) wake: Notify,
    /// True if all triggers are installed and their notifications arrive, so that no other source
    /// of hints is needed. Relaxed: it only steers pacing.
    pub(super) triggers_complete: AtomicBool,
    pub(super) interest: Arc<dyn Interest>,
    /// The sleep of the database's connections.
    pub(super) sleep: Sleep,
    pub(super) metrics: Arc<Metrics>,
}

impl EngineShared {
    pub(super) fn lock(&self) -> MutexGuard<'_, EngineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops notifications for keys that became hot, and enables them again for keys that cooled
    /// down.
    pub(super) fn apply_polling_changes(&self, dirty: &mut DirtySet<ReadWaiter>, now: Instant) {
        for (topic, change) in dirty.take_polling_changes() {
            match change {
                // The writers of a key notify for all its topics or for none.
                PollingChange::StartPolling => {
                    if !dirty.is_polled(&topic) && self.interest.release_for_polling(&topic) {
                        self.metrics.hot_keys.inc();
                        let topics = dirty.topics_of_key(&topic.without_params());
                        for topic in &topics {
                            dirty.start_polling(topic, now);
                        }
                    }
                }
                // Polling continues until notifications are enabled again.
                PollingChange::StopPolling => match self.interest.watch(&topic) {
                    NotifyState::Enabled | NotifyState::Unknown => {
                        dirty.notifications_enabled(&topic, now)
                    }
                    NotifyState::Pending => {}
                },
            }
        }
    }
}
