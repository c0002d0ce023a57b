//! The effect of each step.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::database_model::Notification;
use crate::reads::{FailingKeys, ReadFault, SimulatedRead};
use crate::script::{GroupMove, KEYS, SimStep, TRANSACTIONS, VIEWERS};
use crate::topics::{INTERVAL, TOPICS, channel, is_paced, stream_number, topic, topics_of_key};
use crate::violation::Violation;
use crate::world::{LockHolderState, PendingHook, SimWorld};
use latido_auth::Principal;
use latido_engine::HintSource;
use latido_hub::LatestColumns;
use latido_session::{PermissionAnswer, ReauthError};
use latido_shard::RequestContent;

pub(super) const MS: Duration = Duration::from_millis(1);

fn key(key: u8) -> u8 {
    key % KEYS
}

fn stream(stream: u8) -> u8 {
    stream % 2
}

fn viewer(viewer: u8) -> usize {
    usize::from(viewer) % VIEWERS
}

impl SimWorld {
    /// Applies one step and its immediate consequences.
    pub(super) fn apply_step(&mut self, step: &SimStep) -> Result<(), Violation> {
        match *step {
            SimStep::Advance(ms) => return self.advance(MS * u32::from(ms)),
            SimStep::Shutdown(spread_ms) => return self.shut_down(spread_ms.into()),
            SimStep::ReadBytes(v, bytes) => {
                let now_s = self.wall().as_second();
                let _some = self.viewers[viewer(v)].read(bytes.into(), now_s, true)?;
            }
            SimStep::Restart => self.restart(),
            SimStep::Change(..)
            | SimStep::Write(..)
            | SimStep::Commit(_)
            | SimStep::Rollback(_) => self.apply_write(step),
            SimStep::Connect(v, good_for_s) => self.connect(viewer(v), good_for_s),
            SimStep::Disconnect(_)
            | SimStep::Subscribe(..)
            | SimStep::Unsubscribe(..)
            | SimStep::Pause(_)
            | SimStep::Resume(_) => self.apply_viewer_step(step),
            SimStep::Renew(v, good_for_s, claims) => {
                let token = format!("{good_for_s} {claims} {}", viewer(v));
                self.viewers[viewer(v)].send(&json!({"type": "auth", "data": {"token": token}}));
            }
            SimStep::Order(step) => self.apply_order_step(step),
            SimStep::Sleep(step) => self.apply_sleep_step(step)?,
            SimStep::EventStream(step) => self.apply_stream_step(step),
            SimStep::Grant(v, k, may) => self.grant(viewer(v), key(k), may),
            SimStep::Recheck => self.recheck_permissions(),
            SimStep::Answer(at, known) => self.answer_request(at.into(), known),
            SimStep::Hook(k) => self.call_hook(key(k)),
            SimStep::DuringBroadcast(rounds, from, count, what) => {
                self.move_group(rounds, from, count, what)?
            }
            SimStep::ReadFlow(flows) => self.reads_flow = flows,
            SimStep::Execute(_) | SimStep::Finish(_) | SimStep::Fail(..) => {
                self.apply_read_step(step)
            }
            SimStep::WallJump(s) => {
                self.wall_skew_us += i64::from(s) * 1_000_000;
                self.jumped = Some(self.now);
                self.apply_clock();
            }
            SimStep::DatabaseClockJump(ms) => self.database.step_clock(i64::from(ms) * 1_000),
            _ => self.apply_fault(step),
        }
        if self.reads_flow {
            self.advance_reads();
        }
        self.run_until_idle()?;
        self.check_invariants()
    }

    fn apply_write(&mut self, step: &SimStep) {
        match *step {
            SimStep::Change(k, write) => {
                let free = (0..TRANSACTIONS).last().unwrap();
                self.database.commit(free);
                self.database.write(free, key(k), write);
                self.database.commit(free);
            }
            SimStep::Write(transaction, k, write) => {
                self.database
                    .write(usize::from(transaction) % TRANSACTIONS, key(k), write)
            }
            SimStep::Commit(transaction) => self
                .database
                .commit(usize::from(transaction) % TRANSACTIONS),
            SimStep::Rollback(transaction) => self
                .database
                .rollback(usize::from(transaction) % TRANSACTIONS),
            _ => {}
        }
    }

    fn apply_viewer_step(&mut self, step: &SimStep) {
        match *step {
            SimStep::Disconnect(v) => self.viewers[viewer(v)].disconnect(),
            SimStep::Subscribe(v, k, long) => {
                self.viewers[viewer(v)].subscribe(&channel(key(k), long))
            }
            SimStep::Unsubscribe(v, k, long) => {
                self.viewers[viewer(v)]
                    .send(&json!({"type": "unsubscribe", "channel": channel(key(k), long)}));
            }
            SimStep::Pause(v) => self.viewers[viewer(v)].pause(),
            SimStep::Resume(v) => self.viewers[viewer(v)].is_paused = false,
            _ => {}
        }
    }

    /// Moves a part of the group while the shard is working.
    fn move_group(
        &mut self,
        rounds: u8,
        from: u8,
        count: u8,
        what: GroupMove,
    ) -> Result<(), Violation> {
        if self.reads_flow {
            // The first call executes the pending reads, the second delivers their results.
            (0..2).for_each(|_| self.advance_reads());
        }
        if !self.server.actor.run_until_idle() {
            return Err("the engine never rests".to_owned());
        }
        self.server.shard.run_rounds(rounds.into());
        for at in 0..usize::from(count).min(self.group_size()) {
            self.move_client((usize::from(from) + at) % self.group_size(), what);
        }
        Ok(())
    }

    /// Returns the number of clients besides the first ones.
    fn group_size(&self) -> usize {
        self.viewers.len() - VIEWERS
    }

    fn move_client(&mut self, member: usize, what: GroupMove) {
        let v = VIEWERS + member;
        let name = channel(self.group_key, false);
        match what {
            GroupMove::Connect => {
                if !self.viewers[v].is_connected() {
                    self.connect(v, 3600);
                }
                // Some clients hold more than one channel: the updates of all leave in one
                // write.
                let more = channel(self.group_key + 1, false);
                let names = std::iter::once(&name).chain(member.is_multiple_of(4).then_some(&more));
                for name in names {
                    if !self.viewers[v].subscribed.contains_key(name) {
                        self.viewers[v].subscribe(name);
                    }
                }
            }
            GroupMove::Unsubscribe => {
                self.viewers[v].send(&json!({"type": "unsubscribe", "channel": name}))
            }
            GroupMove::Disconnect => self.viewers[v].disconnect(),
            GroupMove::Stall => self.viewers[v].pause(),
            GroupMove::Wake => self.viewers[v].is_paused = false,
        }
    }

    /// Answers one of the pending requests of the shard's queues.
    pub(super) fn answer_request(&mut self, at: usize, known: bool) {
        if self.requests.is_empty() {
            return;
        }
        let asked = self.requests.remove(at % self.requests.len());
        match asked.content() {
            RequestContent::CheckPermission(user, channel) => {
                let v = user.as_str().parse::<usize>().unwrap();
                let topics = topics_of_key(&channel.topic.key);
                let rights = self.permissions.lock().unwrap()[v];
                let may = topics.iter().all(|topic| rights[usize::from(*topic)]);
                if known && may {
                    self.viewers[v].allowed.extend(topics);
                }
                asked.respond_permission(
                    channel,
                    match (known, may) {
                        (true, true) => PermissionAnswer::Allowed,
                        (true, false) => PermissionAnswer::Forbidden,
                        (false, _) => PermissionAnswer::Unknown,
                    },
                );
            }
            RequestContent::VerifyToken(token) => {
                // The request does not name the user. The token does, and each user has a different
                // one.
                asked.respond_token(self.verify(&token, known));
            }
        }
    }

    fn grant(&mut self, v: usize, k: u8, may: bool) {
        self.permissions.lock().unwrap()[v][usize::from(k)] = may;
        if may {
            self.withdrawn.remove(&(v, k));
        }
    }

    fn verify(&mut self, token: &str, known: bool) -> Result<Principal, ReauthError> {
        let mut words = token.split(' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let (good_for_s, claims, v) = (next(), next(), next());
        if !known {
            return Err(ReauthError::Invalid("not signed by us".to_owned()));
        }
        let v = v.parse().unwrap_or(0);
        Ok(self.principal(v, good_for_s.parse().unwrap_or(0), claims == "true"))
    }

    fn call_hook(&mut self, key: u8) {
        let is_watched = self.server.hub.latest_columns(&topic(key)) != LatestColumns::Unwatched;
        let response = Box::pin(self.server.engine.read_now(&topic(key)));
        // A hook for an unwatched key waits for no read.
        let left = if is_watched {
            self.server.left(key)
        } else {
            u64::MAX
        };
        self.hooks.push(PendingHook {
            key,
            commits: self.database.commits,
            losses_at_call: left,
            response,
        });
    }

    fn apply_read_step(&mut self, step: &SimStep) {
        let mut reads = self.reads.0.lock().unwrap();
        let (SimStep::Execute(at) | SimStep::Finish(at) | SimStep::Fail(at, _)) = *step else {
            return;
        };
        if reads.is_empty() {
            return;
        }
        let at = usize::from(at) % reads.len();
        match *step {
            SimStep::Execute(_) => reads[at].execute(&self.database),
            SimStep::Fail(_, is_rejected) => {
                let read = reads.remove(at);
                drop(reads);
                let faults = [ReadFault::Unavailable, ReadFault::Rejected];
                self.fail(read, faults[usize::from(is_rejected)]);
            }
            _ => {
                let mut read = reads.remove(at);
                drop(reads);
                read.execute(&self.database);
                self.finish(read);
            }
        }
    }

    pub(super) fn fail(&mut self, read: SimulatedRead, fault: ReadFault) {
        self.record_failure(read.failing_keys(Some(fault)));
        read.fail(fault);
    }

    /// Records which viewers must be told that their channel cannot be read, and which may be.
    fn record_failure(&mut self, failing: FailingKeys) {
        let keys: Vec<u8> = match failing {
            FailingKeys::None => return,
            FailingKeys::One(key) => {
                if self.server.hub.latest_columns(&topic(key)) != LatestColumns::Unwatched {
                    self.refused.insert(key, self.server.left(key));
                }
                vec![key]
            }
            FailingKeys::OfStream(stream) => (0..TOPICS)
                .filter(|key| stream_number(*key) == stream)
                .collect(),
        };
        for viewer in &mut self.viewers {
            viewer.may_be_told.extend(&keys);
        }
    }

    pub(super) fn finish(&mut self, read: SimulatedRead) {
        self.record_failure(read.failing_keys(None));
        let asked = read.asked;
        if let Some((keys, seen)) = read.finish() {
            for key in keys {
                self.record_pace(key, asked);
                self.refused.remove(&key);
                let answered = &mut self.answered[usize::from(key)];
                *answered = (*answered).max(seen);
            }
        }
    }

    /// Records that the viewers of a key get a row, and whether they do too soon after the last one.
    fn record_pace(&mut self, key: u8, asked: Instant) {
        if self.server.hub.latest_columns(&topic(key)) == LatestColumns::Unwatched {
            return;
        }
        let losses = self.server.left(key);
        let last = is_paced(key).then(|| self.paced.insert(key, (asked, losses)));
        if let Some((before, losses_before)) = last.flatten()
            && losses_before == losses
            && asked < before + INTERVAL
        {
            let after = asked.saturating_duration_since(before);
            self.too_soon = Some(format!("key {key} was read again after {after:?}"));
        }
    }

    fn apply_fault(&mut self, step: &SimStep) {
        match *step {
            SimStep::Deliver => self.deliver(0),
            SimStep::DeliverOne(at) => self.deliver(at.into()),
            SimStep::DeliverAll => {
                (0..self.database.notifications.len()).for_each(|_| self.deliver(0))
            }
            SimStep::Duplicate(at) => {
                let count = self.database.notifications.len().max(1);
                if let Some(note) = self
                    .database
                    .notifications
                    .get(usize::from(at) % count)
                    .copied()
                {
                    self.database.notifications.push_back(note);
                }
            }
            SimStep::Lose(at) => {
                let count = self.database.notifications.len().max(1);
                self.lost |= self
                    .database
                    .notifications
                    .remove(usize::from(at) % count)
                    .is_some();
            }
            SimStep::Forge(k) => self
                .server
                .engine
                .changed(&topic(key(k)), HintSource::Trigger),
            SimStep::ListenerCut => self.listener_cut(),
            SimStep::ListenerBack => self.listener_back(),
            SimStep::LocksLost if self.lock_holder == LockHolderState::Up => self.lose_locks(),
            SimStep::LockHolderNotices => self.lock_holder_notices(),
            SimStep::LockHolderBack => self.lock_holder_back(),
            SimStep::LockHolderAcquires => self.acquire_locks(),
            SimStep::DatabaseDown => {
                self.database.crash();
                self.listener_cut();
                self.lose_locks();
                self.lock_holder_notices();
            }
            SimStep::DatabaseUp => self.database.is_up = true,
            SimStep::Break(s) => drop(self.database.broken.insert(stream(s))),
            SimStep::Mend(s) => drop(self.database.broken.remove(&stream(s))),
            SimStep::Examine => self.examine_streams(),
            SimStep::Poison(k) => drop(self.database.poisoned.insert(key(k))),
            SimStep::Cure(k) => drop(self.database.poisoned.remove(&key(k))),
            _ => {}
        }
    }

    pub(super) fn deliver(&mut self, at: usize) {
        let count = self.database.notifications.len().max(1);
        match self.database.notifications.remove(at % count) {
            Some(Notification::Changed(key)) => {
                self.server.engine.changed(&topic(key), HintSource::Trigger);
            }
            Some(Notification::Moved(key)) => self.deliver_move(key),
            None => {}
        }
    }
}
