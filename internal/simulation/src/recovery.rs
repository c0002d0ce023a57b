//! The connections of the listener and of the lock holder, the end of a server, and the recovery
//! from all faults.

use std::time::Duration;

use crate::event_stream::SimEventStream;
use crate::faults::MS;
use crate::script::TRANSACTIONS;
use crate::violation::Violation;
use crate::world::{LockHolderState, SimWorld};
use latido_base::ident::StreamId;
use latido_base::sleep::SleepingConnection;
use latido_engine::HintSource;
use latido_stream::{ChangeHint, HintSink as _};

fn number(id: StreamId) -> u8 {
    u8::try_from(id.0).unwrap()
}

impl SimWorld {
    // A short version of the adapters and the trigger monitor of `app`.

    pub(super) fn listener_cut(&mut self) {
        self.database.is_listening = false;
        self.database.notifications.clear();
        if std::mem::take(&mut self.is_listener_up) {
            self.server.sleep.wake_failed();
            self.server.engine.on_hint(&ChangeHint::Lost);
            self.update_coverage();
        }
    }

    pub(super) fn listener_back(&mut self) {
        if self.is_listener_up || self.server.sleep.is_asleep() {
            return;
        }
        if !self.database.is_up {
            self.server.sleep.wake_failed();
            return;
        }
        (self.database.is_listening, self.is_listener_up) = (true, true);
        self.server.engine.on_hint(&ChangeHint::Listening);
        self.server.sleep.opened(SleepingConnection::Listener);
        self.update_coverage();
    }

    pub(super) fn update_coverage(&self) {
        self.server.engine.set_triggers_complete(
            self.is_listener_up && self.lock_holder != LockHolderState::Down,
        );
    }

    pub(super) fn lose_locks(&mut self) {
        self.database.shared.clear();
        if self.lock_holder == LockHolderState::Up {
            self.lock_holder = LockHolderState::Lost;
        }
    }

    pub(super) fn lock_holder_notices(&mut self) {
        if self.lock_holder == LockHolderState::Lost {
            self.lock_holder = LockHolderState::Down;
            self.server.sleep.wake_failed();
            self.server.engine.set_triggers_complete(false);
            self.server.interest.set_disconnected();
        }
    }

    pub(super) fn lock_holder_back(&mut self) {
        let may_connect = self.is_listener_up && !self.server.sleep.is_asleep();
        if self.lock_holder == LockHolderState::Down && self.database.is_up && may_connect {
            self.lock_holder = LockHolderState::Up;
            self.server.interest.set_connected();
            self.update_coverage();
        }
    }

    /// Acquires every available lock and releases the unneeded ones.
    pub(super) fn acquire_locks(&mut self) {
        if self.lock_holder != LockHolderState::Up {
            return;
        }
        let missing = self.server.interest.missing_locks();
        for lock in self.database.try_share(&missing) {
            for event in self.server.interest.mark_held(lock) {
                self.server.engine.on_watch_locks(&event);
            }
        }
        let sleep = &self.server.sleep;
        sleep.opened(SleepingConnection::WatchLocks);
        for lock in self.server.interest.take_idle() {
            self.database.shared.remove(&lock);
        }
    }

    /// Performs the actions that the lock holder takes by itself.
    pub(super) fn run_lock_holder(&mut self) {
        if self.reads_flow {
            self.acquire_locks();
        }
    }

    /// Examines the streams that the server knows to be broken, as the stream monitor of `app` does.
    pub(super) fn examine_streams(&self) {
        let server = &self.server;
        for (id, _) in server.catalog.iter() {
            let works = self.database.is_up && !self.database.broken.contains(&number(id));
            if works && server.catalog.status(id).set_working() {
                server.engine.mark_all(Some(id), HintSource::Resync);
                server.hub.retry_subscriptions();
            }
        }
    }

    /// Stops the server in order: it notifies every client that reads, and ends.
    pub(super) fn shut_down(&mut self, spread_ms: u64) -> Result<(), Violation> {
        self.server.shard.shutdown(spread_ms);
        self.advance(Duration::from_millis(spread_ms) + 5_000 * MS)?;
        if !self.server.shard.has_ended() {
            return Err("the shard did not end".to_owned());
        }
        for viewer in &mut self.viewers {
            if viewer.is_connected() && !viewer.is_paused {
                return Err("a viewer's connection outlived the server".to_owned());
            }
        }
        self.restart();
        self.run_until_idle()
    }

    /// Lets the reads end. Midnight may have come in the last moment. A heavy key pauses for as long as
    /// its read took, which is up to two seconds.
    pub(super) fn finish_reads(&mut self) -> Result<(), Violation> {
        for _ in 0..250 {
            if self.server.engine.dirty_keys() > 0 || !self.reads.0.lock().unwrap().is_empty() {
                self.advance(20 * MS)?;
            }
        }
        Ok(())
    }

    /// Ends all faults and then examines the final state.
    pub(super) fn recover(&mut self) -> Result<u64, Violation> {
        self.database.is_up = true;
        self.database.poisoned.clear();
        self.database.broken.clear();
        (0..TRANSACTIONS).for_each(|transaction| self.database.commit(transaction));
        self.reads_flow = true;
        self.viewers
            .iter_mut()
            .for_each(|viewer| viewer.is_paused = false);
        self.event_streams
            .iter_mut()
            .for_each(SimEventStream::resume);
        self.listener_back();
        self.lock_holder_notices();
        self.lock_holder_back();
        for round in 0..80 {
            (0..self.database.notifications.len()).for_each(|_| self.deliver(0));
            (0..self.requests.len()).for_each(|_| self.answer_request(0, true));
            self.examine_streams();
            self.advance(if round < 40 { 20 * MS } else { 1_000 * MS })?;
        }
        self.finish_reads()?;
        self.check_final_state()?;
        self.sleep_and_wake()?;
        self.viewers
            .iter_mut()
            .for_each(super::viewer::SimViewer::disconnect);
        (0..16).try_for_each(|_| self.advance(1_000 * MS))?;
        self.check_nothing_is_left()?;
        Ok(self
            .viewers
            .iter()
            .fold(0, |digest, viewer| digest.rotate_left(7) ^ viewer.digest))
    }
}
