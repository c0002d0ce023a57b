//! The effect of each step, and the recovery from all faults.

use std::time::Duration;

use serde_json::json;

use crate::Violation;
use crate::reads::{Read, number};
use crate::script::{KEYS, Move, Step, TRANSACTIONS, VIEWERS};
use crate::viewer::channel;
use crate::world::{Hook, Keeper, World, topic};
use latido_engine::HintSource;
use latido_shard::RequestContent;

const MS: Duration = Duration::from_millis(1);

fn key(key: u8) -> u8 {
    key % KEYS
}

fn viewer(viewer: u8) -> usize {
    usize::from(viewer) % VIEWERS
}

impl World {
    /// Applies one step and its immediate consequences.
    pub(super) fn take(&mut self, step: &Step) -> Result<(), Violation> {
        match *step {
            Step::Advance(ms) => return self.advance(MS * u32::from(ms)),
            Step::Leave(spread_ms) => return self.leave(spread_ms.into()),
            Step::Nibble(v, bytes) => {
                let now_s = self.wall().as_second();
                let _some = self.viewers[viewer(v)].read(bytes.into(), now_s, true)?;
            }
            Step::Restart => self.restart(),
            Step::Change(..) | Step::Write(..) | Step::Commit(_) | Step::Rollback(_) => {
                self.write(step)
            }
            Step::Connect(v, good_for_s) => self.connect(viewer(v), good_for_s),
            Step::Hangup(_)
            | Step::Subscribe(..)
            | Step::Unsubscribe(..)
            | Step::Pause(_)
            | Step::Resume(_) => self.view(step),
            Step::Renew(v, good_for_s, claims) => {
                let token = format!("{good_for_s} {claims} {}", viewer(v));
                self.viewers[viewer(v)].say(&json!({"type": "auth", "data": {"token": token}}));
            }
            Step::Grant(v, k, may) => self.rights[viewer(v)][usize::from(key(k))] = may,
            Step::Answer(at, known) => self.answer(at.into(), known),
            Step::Hook(k) => self.hook(key(k)),
            Step::Amid(rounds, from, count, what) => self.amid(rounds, from, count, what)?,
            Step::Flow(flows) => self.flows = flows,
            Step::Execute(_) | Step::Finish(_) | Step::Fail(..) => self.read(step),
            Step::WallJump(s) => {
                self.wall_skew_us += i64::from(s) * 1_000_000;
                self.jumped = Some(self.now);
                self.show_time();
            }
            Step::DatabaseClockJump(ms) => self.database.step_clock(i64::from(ms) * 1_000),
            _ => self.break_or_mend(step),
        }
        if self.flows {
            self.flow();
        }
        self.settle()?;
        self.check()
    }

    fn write(&mut self, step: &Step) {
        match *step {
            Step::Change(k, write) => {
                let free = (0..TRANSACTIONS).last().unwrap();
                self.database.commit(free);
                self.database.write(free, key(k), write);
                self.database.commit(free);
            }
            Step::Write(transaction, k, write) => {
                self.database
                    .write(usize::from(transaction) % TRANSACTIONS, key(k), write)
            }
            Step::Commit(transaction) => self
                .database
                .commit(usize::from(transaction) % TRANSACTIONS),
            Step::Rollback(transaction) => self
                .database
                .rollback(usize::from(transaction) % TRANSACTIONS),
            _ => {}
        }
    }

    fn view(&mut self, step: &Step) {
        match *step {
            Step::Hangup(v) => self.viewers[viewer(v)].hang_up(),
            Step::Subscribe(v, k, long) => {
                self.viewers[viewer(v)].subscribe(&channel(key(k), long))
            }
            Step::Unsubscribe(v, k, long) => {
                self.viewers[viewer(v)]
                    .say(&json!({"type": "unsubscribe", "channel": channel(key(k), long)}));
            }
            Step::Pause(v) => self.viewers[viewer(v)].pause(),
            Step::Resume(v) => self.viewers[viewer(v)].is_paused = false,
            _ => {}
        }
    }

    /// Moves a part of the group while the shard is working.
    fn amid(&mut self, rounds: u8, from: u8, count: u8, what: Move) -> Result<(), Violation> {
        if self.flows {
            // The first call executes the pending reads, the second delivers their results.
            (0..2).for_each(|_| self.flow());
        }
        if !self.server.actor.run_until_idle() {
            return Err("the engine never rests".to_owned());
        }
        self.server.thread.run_rounds(rounds.into());
        for at in 0..usize::from(count).min(self.crowd()) {
            self.stir((usize::from(from) + at) % self.crowd(), what);
        }
        Ok(())
    }

    /// Returns the number of clients besides the first ones.
    fn crowd(&self) -> usize {
        self.viewers.len() - VIEWERS
    }

    fn stir(&mut self, member: usize, what: Move) {
        let v = VIEWERS + member;
        let name = channel(self.crowded, false);
        match what {
            Move::Come => {
                if !self.viewers[v].is_connected() {
                    self.connect(v, 3600);
                }
                // Some clients hold more than one channel: the updates of all leave in one
                // write.
                let more = channel(self.crowded + 1, false);
                let names = std::iter::once(&name).chain(member.is_multiple_of(4).then_some(&more));
                for name in names {
                    if !self.viewers[v].held.contains_key(name) {
                        self.viewers[v].subscribe(name);
                    }
                }
            }
            Move::Leave => self.viewers[v].say(&json!({"type": "unsubscribe", "channel": name})),
            Move::Hangup => self.viewers[v].hang_up(),
            Move::Stall => self.viewers[v].pause(),
            Move::Wake => self.viewers[v].is_paused = false,
        }
    }

    /// Answers one of the pending requests of the shard's queues.
    fn answer(&mut self, at: usize, known: bool) {
        if self.asking.is_empty() {
            return;
        }
        let asked = self.asking.remove(at % self.asking.len());
        match asked.content() {
            RequestContent::CheckPermission(user, channel) => {
                let (v, k) = (
                    user.as_str().parse::<usize>().unwrap(),
                    number(&channel.topic.key),
                );
                let may = self.rights[v][usize::from(k)];
                if known && may {
                    self.viewers[v].allowed.insert(k);
                }
                asked.respond_permission(channel, known.then_some(may));
            }
            RequestContent::VerifyToken(token) => {
                // The request does not name the user. The token does, and each user has a different
                // one.
                asked.respond_token(self.verify(&token, known));
            }
        }
    }

    fn verify(&mut self, token: &str, known: bool) -> Result<latido_auth::Principal, String> {
        let mut words = token.split(' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let (good_for_s, claims, v) = (next(), next(), next());
        if !known {
            return Err("not signed by us".to_owned());
        }
        let v = v.parse().unwrap_or(0);
        Ok(self.principal(v, good_for_s.parse().unwrap_or(0), claims == "true"))
    }

    fn hook(&mut self, key: u8) {
        let is_watched = self.server.hub.latest_columns(&topic(key)).is_some();
        let answer = Box::pin(self.server.engine.read_now(&topic(key)));
        // A hook for an unwatched key waits for no read.
        let left = if is_watched {
            self.server.left(key)
        } else {
            u64::MAX
        };
        self.hooks.push(Hook {
            key,
            commits: self.database.commits,
            left,
            answer,
        });
    }

    fn read(&mut self, step: &Step) {
        let mut reads = self.reads.0.lock().unwrap();
        let (Step::Execute(at) | Step::Finish(at) | Step::Fail(at, _)) = *step else {
            return;
        };
        if reads.is_empty() {
            return;
        }
        let at = usize::from(at) % reads.len();
        match *step {
            Step::Execute(_) => reads[at].execute(&self.database),
            Step::Fail(_, rejected) => reads.remove(at).fail(rejected),
            _ => {
                let mut read = reads.remove(at);
                drop(reads);
                read.execute(&self.database);
                self.finish(read);
            }
        }
    }

    pub(super) fn finish(&mut self, read: Read) {
        if let Some((keys, seen)) = read.finish() {
            for key in keys {
                let answered = &mut self.answered[usize::from(key)];
                *answered = (*answered).max(seen);
            }
        }
    }

    fn break_or_mend(&mut self, step: &Step) {
        match *step {
            Step::Deliver => self.deliver(0),
            Step::DeliverOne(at) => self.deliver(at.into()),
            Step::DeliverAll => (0..self.database.notes.len()).for_each(|_| self.deliver(0)),
            Step::Duplicate(at) => {
                let count = self.database.notes.len().max(1);
                if let Some(note) = self.database.notes.get(usize::from(at) % count).copied() {
                    self.database.notes.push_back(note);
                }
            }
            Step::Lose(at) => {
                let count = self.database.notes.len().max(1);
                self.lost |= self
                    .database
                    .notes
                    .remove(usize::from(at) % count)
                    .is_some();
            }
            Step::Forge(k) => self.server.engine.changed(&topic(key(k)), HintSource::Trigger),
            Step::ListenerCut => self.listener_cut(),
            Step::ListenerBack => self.listener_back(),
            Step::LocksGone if self.keeper == Keeper::Up => self.lose_locks(),
            Step::KeeperNotices => self.keeper_notices(),
            Step::KeeperBack => self.keeper_back(),
            Step::KeeperTakes => self.take_locks(),
            Step::DatabaseDown => {
                self.database.crash();
                self.listener_cut();
                self.lose_locks();
                self.keeper_notices();
            }
            Step::DatabaseUp => self.database.is_up = true,
            Step::Poison(k) => drop(self.database.poisoned.insert(key(k))),
            Step::Cure(k) => drop(self.database.poisoned.remove(&key(k))),
            _ => {}
        }
    }

    fn deliver(&mut self, at: usize) {
        let count = self.database.notes.len().max(1);
        if let Some(key) = self.database.notes.remove(at % count) {
            self.server.engine.changed(&topic(key), HintSource::Trigger);
        }
    }

    /// A short version of the adapters and the trigger monitor of `app`.
    fn listener_cut(&mut self) {
        self.database.is_listening = false;
        self.database.notes.clear();
        if std::mem::take(&mut self.hears) {
            self.server.engine.mark_all(None, HintSource::Resync);
            self.cover();
        }
    }

    pub(super) fn listener_back(&mut self) {
        if self.database.is_up && !self.hears {
            (self.database.is_listening, self.hears) = (true, true);
            self.server.engine.mark_all(None, HintSource::Resync);
            self.cover();
        }
    }

    fn cover(&self) {
        self.server
            .engine
            .set_triggers_complete(self.hears && self.keeper != Keeper::Down);
    }

    fn lose_locks(&mut self) {
        self.database.shared.clear();
        if self.keeper == Keeper::Up {
            self.keeper = Keeper::Lost;
        }
    }

    fn keeper_notices(&mut self) {
        if self.keeper == Keeper::Lost {
            self.keeper = Keeper::Down;
            self.server.engine.set_triggers_complete(false);
            self.server.interest.set_disconnected();
        }
    }

    pub(super) fn keeper_back(&mut self) {
        if self.keeper == Keeper::Down && self.database.is_up && self.hears {
            self.keeper = Keeper::Up;
            self.server.interest.set_connected();
            self.cover();
        }
    }

    /// Acquires every available lock and releases the unneeded ones.
    fn take_locks(&mut self) {
        if self.keeper != Keeper::Up {
            return;
        }
        for lock in self.server.interest.missing_locks() {
            if self.database.try_share(lock) {
                let armed = self.server.interest.mark_held(lock);
                self.server.engine.notifications_enabled(&armed);
            }
        }
        for lock in self.server.interest.take_idle() {
            self.database.shared.remove(&lock);
        }
    }

    /// Performs the actions that the lock holder takes by itself.
    pub(super) fn keep(&mut self) {
        if self.flows {
            self.take_locks();
        }
    }

    /// Stops the server in order: it notifies every client that reads, and ends.
    fn leave(&mut self, spread_ms: u64) -> Result<(), Violation> {
        self.server.thread.shutdown(spread_ms);
        self.advance(Duration::from_millis(spread_ms) + 5_000 * MS)?;
        if !self.server.thread.has_ended() {
            return Err("the shard did not end".to_owned());
        }
        for viewer in &mut self.viewers {
            if viewer.is_connected() && !viewer.is_paused {
                return Err("a viewer's connection outlived the server".to_owned());
            }
        }
        self.restart();
        self.settle()
    }

    /// Ends all faults and then examines the final state.
    pub(super) fn heal(&mut self) -> Result<u64, Violation> {
        self.database.is_up = true;
        self.database.poisoned.clear();
        (0..TRANSACTIONS).for_each(|transaction| self.database.commit(transaction));
        self.flows = true;
        self.viewers
            .iter_mut()
            .for_each(|viewer| viewer.is_paused = false);
        self.listener_back();
        self.keeper_notices();
        self.keeper_back();
        for round in 0..80 {
            (0..self.database.notes.len()).for_each(|_| self.deliver(0));
            (0..self.asking.len()).for_each(|_| self.answer(0, true));
            self.advance(if round < 40 { 20 * MS } else { 1_000 * MS })?;
        }
        // Midnight may have come in the last of these moments. A heavy key pauses for as long as
        // its read took, which is up to two of these seconds.
        for _ in 0..250 {
            if self.server.engine.dirty_keys() > 0 || !self.reads.0.lock().unwrap().is_empty() {
                self.advance(20 * MS)?;
            }
        }
        self.examine()?;
        self.viewers
            .iter_mut()
            .for_each(super::viewer::Viewer::hang_up);
        (0..16).try_for_each(|_| self.advance(1_000 * MS))?;
        self.nobody_is_left()?;
        Ok(self
            .viewers
            .iter()
            .fold(0, |digest, viewer| digest.rotate_left(7) ^ viewer.digest))
    }
}
