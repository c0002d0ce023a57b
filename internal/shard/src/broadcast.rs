//! Broadcasts to rooms, in bounded slices.

use crate::broadcast_queue::SLICE;
use crate::client::{ConnectionState, ShardClient};
use crate::outbox::{Outbox, SendResult, send};
use crate::rooms::{MemberFrame, ShardMember};
use crate::worker::ShardWorker;
use latido_session::CloseReason;

/// The members of one room that one slice examines, whether it sends to them or not.
const MAX_SCANNED: usize = 8192;

impl ShardWorker {
    /// Takes the frames that the hub published, and starts the broadcasts of their rooms.
    pub(super) fn take_frames(&mut self) {
        let pending = self.frames.take();
        for (id, frame) in pending.frames {
            let Some(index) = self.rooms.find(id) else {
                continue;
            };
            if self
                .rooms
                .get_mut(index)
                .is_some_and(|room| room.set_latest(frame))
            {
                self.start_broadcast(index);
            }
        }
        if let Some(status) = pending.status {
            self.for_each_open_client(|worker, slot, client| {
                if client.positions().next().is_some() {
                    worker.push(slot, client, status.as_bytes().to_vec());
                }
            });
        }
        if pending.retries_subscriptions {
            self.for_each_open_client(Self::retry_subscriptions);
        }
        if pending.replaces_streams {
            self.start_replacement();
        }
    }

    fn for_each_open_client(&mut self, mut act: impl FnMut(&mut Self, u32, &mut ShardClient)) {
        for slot in 0..u32::try_from(self.connections.clients.len()).unwrap_or(u32::MAX) {
            self.with_client(slot, |worker, client| {
                if client.state == ConnectionState::Open {
                    act(worker, slot, client);
                }
            });
        }
    }

    fn retry_subscriptions(&mut self, slot: u32, client: &mut ShardClient) {
        let context = &self.deps.context;
        let effects = client
            .session_mut()
            .map(|session| session.retry_subscriptions(context));
        for effect in effects.into_iter().flatten() {
            self.apply(slot, client, effect);
        }
    }

    /// Queues a room's broadcast, unless it is queued already.
    pub(super) fn start_broadcast(&mut self, index: u32) {
        if let Some(room) = self.rooms.get_mut(index)
            && !std::mem::replace(&mut room.is_queued, true)
        {
            self.scheduler.broadcasts.put(index, room.remaining);
        }
    }

    /// Continues the broadcasts in progress: small rooms first, up to `most` sends, then a slice of
    /// one large room. A turn is short because frames published meanwhile wait for its end.
    pub(super) fn run_broadcasts(&mut self, most: usize) {
        let mut sends = 0;
        while sends < most
            && let Some(index) = self.scheduler.broadcasts.next_small()
        {
            sends += self.continue_broadcast(index);
        }
        if let Some(index) = self.scheduler.broadcasts.next_large() {
            self.continue_broadcast(index);
        }
    }

    /// Sends one slice of a room's broadcast, and queues the room again for the rest. Returns the
    /// number of sends.
    fn continue_broadcast(&mut self, index: u32) -> usize {
        let sends = self.send_slice(index);
        if let Some(room) = self.rooms.get_mut(index) {
            room.is_queued = room.remaining > 0;
            if room.is_queued {
                self.scheduler.broadcasts.put(index, room.remaining);
            }
        }
        sends
    }

    fn send_slice(&mut self, index: u32) -> usize {
        let mut sends = 0;
        let mut frames = 0;
        let mut clients = 0;
        let mut bytes = 0;
        for _ in 0..MAX_SCANNED {
            let Some(room) = self.rooms.get_mut(index) else {
                break;
            };
            if room.remaining == 0 || sends == SLICE {
                break;
            }
            room.remaining -= 1;
            let index_in_room = if room.cursor < room.members.len() {
                room.cursor
            } else {
                0
            };
            room.cursor = index_in_room + 1;
            let member_before: ShardMember = room.members[index_in_room];
            if member_before.seen_turn == room.turn || member_before.awaits_history() {
                continue;
            }
            if member_before.is_blocked() {
                self.deps.metrics.frames_superseded.inc();
                continue;
            }
            let slot = member_before.slot();
            if member_before.has_other_rooms() {
                sends += 1;
                self.with_client(slot, |worker, client| worker.catch_up(slot, client));
                continue;
            }
            let Some(MemberFrame { frame, count, .. }) = room.take_frame(index_in_room) else {
                break;
            };
            let Some(socket) = self.connections.socket(slot) else {
                continue;
            };
            match send(socket, frame.as_bytes()) {
                SendResult::All => {
                    sends += 1;
                    clients += 1;
                    frames += count;
                    bytes += frame.as_bytes().len();
                }
                SendResult::Partial(sent) => {
                    let outbox = Outbox::after_frame(frame, sent, self.clock.now_s);
                    if sent == 0 {
                        // No byte was sent: the client is behind, but not in the middle of a frame.
                        room.members[index_in_room] = member_before;
                    } else {
                        clients += 1;
                        frames += count;
                        bytes += sent;
                    }
                    self.with_client(slot, |worker, client| {
                        worker.mark_blocked(slot, client, outbox)
                    });
                }
                SendResult::Gone => self.with_client(slot, |_, client| {
                    client.state = ConnectionState::Dead(CloseReason::Client)
                }),
            }
        }
        self.count_sent(frames, bytes);
        self.count_room_errors(index, clients);
        sends
    }

    /// Counts the clients that a room's newest frame was sent to, if the frame is an error.
    fn count_room_errors(&mut self, index: u32, clients: u64) {
        let room = self.rooms.get_mut(index);
        let content = room.and_then(|room| Some(room.latest.as_ref()?.content));
        if let Some(content) = content {
            self.count_errors(content, clients);
        }
    }
}
