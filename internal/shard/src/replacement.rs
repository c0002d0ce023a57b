//! The way of clients from streams that were replaced to those that replace them, in bounded slices.
//!
//! Ten thousand clients may have to go over at once. Each step of the way is as costly as a new
//! subscription, and a right may need a look-up, for which there is a queue with a limit. So the
//! shard looks at its clients in turn, and pauses while the queue is half full. A client that has not
//! had its turn keeps its place in the room of the old stream, which gets no frame any more.
//!
//! A subscription whose right cannot be looked up on the way is tried again by a later walk. So are
//! those that wait for a stream, which may work now or be gone.

use std::time::Duration;

use crate::async_requests::QUEUE_CAPACITY;
use crate::client::{ConnectionState, ShardClient};
use crate::replacement_walk::ReplacementWalk;
use crate::worker::ShardWorker;
use latido_session::{RoomPosition, Session};

/// The clients that one tick looks at.
const CLIENTS_PER_TICK: usize = 64;
/// The room that is left in the queue of permission checks for other subscriptions.
const RESERVE: usize = QUEUE_CAPACITY / 2;

impl ShardWorker {
    /// Begins a walk over all clients, because streams were replaced. One in progress begins anew.
    pub(super) fn start_replacement(&mut self) {
        self.scheduler.retries.reset();
        self.scheduler.replacement = Some(ReplacementWalk::from_the_start());
    }

    /// Plans another walk, because a right could not be looked up.
    pub(super) fn retry_later(&mut self) {
        let now = self.elapsed();
        self.scheduler.retries.plan(now);
    }

    /// Begins the planned walk if it is due. A walk in progress ends first: its last clients must not
    /// wait for the first ones again.
    fn start_due_retry(&mut self) {
        let now = self.elapsed();
        if self.scheduler.replacement.is_none() && self.scheduler.retries.take_due(now) {
            self.scheduler.replacement = Some(ReplacementWalk::from_the_start());
        }
    }

    /// Returns the time until the walk goes on or the next one begins.
    pub(super) fn next_replacement_in(&self, now: Duration) -> Option<Duration> {
        match self.scheduler.replacement {
            Some(walk) => Some(walk.next_in()),
            None => self.scheduler.retries.next_in(now),
        }
    }

    /// Continues the walk in progress, or begins one that is due.
    pub(super) fn continue_replacement(&mut self) {
        self.start_due_retry();
        for _ in 0..CLIENTS_PER_TICK {
            let Some(walk) = self.scheduler.replacement else {
                return;
            };
            if walk.next_slot as usize >= self.connections.clients.len() {
                self.scheduler.replacement = None;
                return;
            }
            let is_paused = !self.has_room_for(walk.next_slot);
            self.scheduler.replacement = Some(ReplacementWalk {
                next_slot: walk.next_slot + u32::from(!is_paused),
                is_paused,
            });
            if is_paused {
                return;
            }
            self.with_client(walk.next_slot, |worker, client| {
                if client.state == ConnectionState::Open {
                    worker.replace_subscriptions(walk.next_slot, client);
                }
            });
            // Not while the client is taken out: a broadcast would pass over it.
            self.yield_to_broadcasts();
        }
    }

    /// Returns whether the rights of a client to its replaced and its waiting channels can be looked
    /// up now.
    fn has_room_for(&self, slot: u32) -> bool {
        let client = self.connections.clients.get(slot as usize);
        let Some(client) = client.and_then(Option::as_ref) else {
            return true;
        };
        let replaced = client.positions().filter(|at| self.is_replaced(*at));
        let waiting = client.session().map_or(0, Session::waiting_subscriptions);
        let needed = replaced.count() + waiting;
        needed == 0 || self.queues.permissions.capacity() >= RESERVE + needed.min(RESERVE)
    }

    /// Returns whether the room at this position belongs to a stream that was replaced.
    fn is_replaced(&self, position: RoomPosition) -> bool {
        let catalog = &self.deps.context.catalog;
        let room = self.rooms.get(position.room);
        room.is_some_and(|room| catalog.is_retired(room.stream()))
    }

    fn replace_subscriptions(&mut self, slot: u32, client: &mut ShardClient) {
        let context = &self.deps.context;
        let effects = client.session_mut().map(|session| {
            let mut effects = session.retry_subscriptions(context);
            let is_replaced = |position| self.is_replaced(position);
            effects.extend(session.replace_subscriptions(is_replaced, context));
            effects
        });
        for effect in effects.into_iter().flatten() {
            self.apply(slot, client, effect);
        }
    }
}
