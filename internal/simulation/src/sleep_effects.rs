//! The sleep of the server's connections: the effect of its steps, and what must hold.

use crate::faults::MS;
use crate::script::CitaWrite;
use crate::server::SLEEP_AFTER;
use crate::sleep_step::SleepStep;
use crate::topics::channel;
use crate::violation::Violation;
use crate::world::{LockHolderState, SimWorld};
use latido_base::sleep::SleepingConnection;

/// The viewer whose token grants the key that is watched at the end.
const VIEWER: usize = 0;
const KEY: u8 = 0;

impl SimWorld {
    pub(super) fn apply_sleep_step(&mut self, step: SleepStep) -> Result<(), Violation> {
        match step {
            SleepStep::Leave => self.leave()?,
            SleepStep::Begin => drop(self.server.sleep.try_sleep()),
            SleepStep::ListenerNotices => self.listener_notices_sleep(),
            SleepStep::LockHolderNotices => self.lock_holder_notices_sleep(),
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Violation> {
        self.viewers
            .iter_mut()
            .for_each(super::viewer::SimViewer::disconnect);
        self.event_streams = Default::default();
        self.advance(SLEEP_AFTER + 1_000 * MS)
    }

    /// The listener's task closes its connection if the sleep goes on, and opens it after its end.
    /// Nobody is told that it was closed.
    fn listener_notices_sleep(&mut self) {
        if self.server.sleep.close(SleepingConnection::Listener) {
            self.database.is_listening = false;
            self.database.notifications.clear();
            self.is_listener_up = false;
            self.update_coverage();
        }
        self.listener_back();
    }

    /// The lock holder's task, likewise.
    fn lock_holder_notices_sleep(&mut self) {
        if self.server.sleep.close(SleepingConnection::WatchLocks) {
            self.database.shared.clear();
            self.lock_holder = LockHolderState::Down;
            self.server.interest.set_disconnected();
            self.update_coverage();
        }
        self.lock_holder_back();
    }

    /// Asserts that nobody watches while the connections sleep, and that nothing is read while they
    /// are being opened.
    pub(super) fn check_sleep(&self) -> Result<(), Violation> {
        let sleep = &self.server.sleep;
        let (_, viewers) = self.server.hub.counts();
        if sleep.is_asleep() && viewers > 0 {
            return Err(format!("the connections sleep, and {viewers} watch"));
        }
        let is_reading = !self.reads.0.lock().unwrap().is_empty();
        if is_reading && (sleep.is_asleep() || sleep.reads_wait_until(self.now).is_some()) {
            return Err("a read was asked for before the connections were open".to_owned());
        }
        Ok(())
    }

    /// Lets the connections sleep, changes a row meanwhile and while they are opened, and asserts that
    /// the first viewer sees both changes.
    pub(super) fn sleep_and_wake(&mut self) -> Result<(), Violation> {
        self.leave()?;
        if !self.server.sleep.is_asleep() && !self.server.sleep.try_sleep() {
            return Err("nobody watches, and the connections do not sleep".to_owned());
        }
        self.listener_notices_sleep();
        self.lock_holder_notices_sleep();
        if self.database.is_listening || !self.database.shared.is_empty() {
            return Err("a connection is open during the sleep".to_owned());
        }
        self.change_row();
        self.connect(VIEWER, 3600);
        self.viewers[VIEWER].subscribe(&channel(KEY, false));
        self.advance(20 * MS)?;
        if self.server.hub.counts() != (1, 1) {
            return Err("nobody watches after the sleep".to_owned());
        }
        self.listener_notices_sleep();
        self.advance(20 * MS)?;
        self.change_row();
        self.lock_holder_notices_sleep();
        (0..20).try_for_each(|_| self.advance(100 * MS))?;
        self.finish_reads()?;
        self.check_final_state()
    }

    fn change_row(&mut self) {
        self.database.write(0, KEY, CitaWrite::Book(0));
        self.database.commit(0);
    }
}
