//! The rooms of a shard: the members of each, and the progress of its newest frame.

use std::collections::HashMap;

use latido_base::ident::{Channel, StreamId};
use latido_hub::{FrameContent, RoomId, VersionedFrame};
use latido_protocol::{Frame, Staleness, native};
use latido_session::RoomPosition;

/// The flag of a member whose socket is full. It catches up when the socket drains, not through a
/// broadcast.
const BLOCKED: u32 = 1 << 31;

/// The flag of a member that is in several rooms: the new frames of all of them leave in one write.
const OTHER_ROOMS: u32 = 1 << 30;

/// The flag of a member that got a snapshot, so that its client may show numbers.
const HAS_NUMBERS: u32 = 1 << 29;

/// The flag of a member that was told that its numbers are old.
const HAS_OLD_NUMBERS: u32 = 1 << 28;

/// The flag of a member whose client waits for the history of the channel. It gets no frame before.
const AWAITS_HISTORY: u32 = 1 << 27;

/// The flags that [`ShardMember::set_flags`] sets.
const SOCKET_FLAGS: u32 = BLOCKED | OTHER_ROOMS;

/// The bits of the slot number.
const SLOT: u32 = !(SOCKET_FLAGS | HAS_NUMBERS | HAS_OLD_NUMBERS | AWAITS_HISTORY);

/// A client in a room. A broadcast reads all members of a room, so they are contiguous and take
/// eight bytes each.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardMember {
    /// The client's slot number, and the flags.
    slot: u32,
    /// The value of the room's `turn` when the client last got its newest frame.
    pub(super) seen_turn: u32,
}

impl ShardMember {
    pub(super) fn slot(self) -> u32 {
        self.slot & SLOT
    }

    pub(super) fn is_blocked(self) -> bool {
        self.slot & BLOCKED != 0
    }

    pub(super) fn has_other_rooms(self) -> bool {
        self.slot & OTHER_ROOMS != 0
    }

    pub(super) fn set_flags(&mut self, blocked: bool, multi: bool) {
        self.slot = self.slot & !SOCKET_FLAGS
            | if blocked { BLOCKED } else { 0 }
            | if multi { OTHER_ROOMS } else { 0 };
    }

    pub(super) fn awaits_history(self) -> bool {
        self.slot & AWAITS_HISTORY != 0
    }

    /// Returns whether the client was told that its numbers are old.
    pub(super) fn has_old_numbers(self) -> bool {
        self.slot & HAS_OLD_NUMBERS != 0
    }

    /// Records that the client gets a frame of this content. Returns the status of the channel that
    /// must follow the frame, if it changes for this client: a client has old numbers only if it got
    /// any.
    fn record_frame(&mut self, content: FrameContent) -> Option<Staleness> {
        match content {
            FrameContent::Snapshot => {
                let was_old = self.has_old_numbers();
                self.slot = self.slot & !HAS_OLD_NUMBERS | HAS_NUMBERS;
                was_old.then_some(Staleness::Fresh)
            }
            FrameContent::Unreadable { stale_since } => {
                let is_told = self.slot & HAS_NUMBERS == 0 || self.has_old_numbers();
                let since = stale_since.filter(|_| !is_told)?;
                self.slot |= HAS_OLD_NUMBERS;
                Some(Staleness::StaleSince(since))
            }
        }
    }
}

/// The newest frame of a room, for one member.
pub(super) struct MemberFrame<'a> {
    /// The frame, and the status of the channel if it changes for the member.
    pub(super) frame: &'a Frame,
    /// The number of frames in it.
    pub(super) count: u64,
    /// The content of the first.
    pub(super) content: FrameContent,
}

/// A channel with subscribers on this shard.
#[derive(Debug)]
pub(super) struct ShardRoom {
    pub(super) id: RoomId,
    /// The channel.
    channel: Channel,
    pub(super) members: Vec<ShardMember>,
    pub(super) latest: Option<VersionedFrame>,
    /// The newest frame with the status that follows it, encoded when it is first needed.
    latest_with_status: Option<Frame>,
    /// The number of frames so far, with which the members' `seen` is compared.
    pub(super) turn: u32,
    /// The index at which the broadcast continues, modulo the number of members.
    pub(super) cursor: usize,
    /// The members that the broadcast still has to examine.
    pub(super) remaining: usize,
    /// Set while the room is in the queue of broadcasts.
    pub(super) is_queued: bool,
}

impl ShardRoom {
    /// Sets the newest frame and starts a broadcast, unless the room has this version or a newer
    /// one. A broadcast in progress continues from its position with the newer frame.
    pub(super) fn set_latest(&mut self, frame: VersionedFrame) -> bool {
        if self
            .latest
            .as_ref()
            .is_some_and(|latest| latest.version >= frame.version)
        {
            return false;
        }
        self.latest = Some(frame);
        self.latest_with_status = None;
        self.turn = self.turn.wrapping_add(1);
        self.remaining = self.members.len();
        true
    }

    /// Returns the stream of the channel.
    pub(super) fn stream(&self) -> StreamId {
        self.channel.topic.stream
    }

    /// Returns the newest frame for the member at this index, and records that the member gets it.
    pub(super) fn take_frame(&mut self, index: usize) -> Option<MemberFrame<'_>> {
        let latest = self.latest.as_ref()?;
        let member = self.members.get_mut(index)?;
        member.seen_turn = self.turn;
        let (frame, count) = match member.record_frame(latest.content) {
            None => (&latest.frame, 1),
            Some(staleness) => {
                let encode = || {
                    let status = native::encode_channel_staleness(&self.channel.name, staleness);
                    Frame::joined([latest.frame.payload(), status.payload()])
                };
                (&*self.latest_with_status.get_or_insert_with(encode), 2)
            }
        };
        Some(MemberFrame {
            frame,
            count,
            content: latest.content,
        })
    }

    /// Returns the frame that the member at this index must get before it leaves: that its numbers
    /// are not old any more, since it has none. A client may take the status of a channel for that of
    /// all.
    pub(super) fn parting_frame(&self, index: usize) -> Option<Frame> {
        let member = self.members.get(index)?;
        let fresh = || native::encode_channel_staleness(&self.channel.name, Staleness::Fresh);
        member.has_old_numbers().then(fresh)
    }

    /// Returns whether the member lacks the newest frame, and may get it.
    pub(super) fn is_stale(&self, member: ShardMember) -> bool {
        self.latest.is_some() && member.seen_turn != self.turn && !member.awaits_history()
    }

    /// Holds back the frames of the member at this index until [`Self::release_member`]. Then it
    /// lacks the newest frame, whether it had that before or not.
    pub(super) fn hold_member(&mut self, index: usize) {
        if let Some(member) = self.members.get_mut(index) {
            member.slot |= AWAITS_HISTORY;
            member.seen_turn = self.turn.wrapping_sub(1);
        }
    }

    /// Ends what [`Self::hold_member`] began.
    pub(super) fn release_member(&mut self, index: usize) {
        if let Some(member) = self.members.get_mut(index) {
            member.slot &= !AWAITS_HISTORY;
        }
    }
}

/// All rooms of a shard. Indices are reused, [`RoomId`]s never.
#[derive(Debug, Default)]
pub(super) struct ShardRooms {
    rooms: Vec<Option<ShardRoom>>,
    free: Vec<u32>,
    by_id: HashMap<RoomId, u32>,
}

impl ShardRooms {
    pub(super) fn get(&self, index: u32) -> Option<&ShardRoom> {
        self.rooms.get(usize::try_from(index).ok()?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut ShardRoom> {
        self.rooms.get_mut(usize::try_from(index).ok()?)?.as_mut()
    }

    /// Returns the index of a room, or `None` if it has no members on this shard.
    pub(super) fn find(&self, id: RoomId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Returns the index of a room, and creates the room if necessary.
    pub(super) fn get_or_create(&mut self, id: RoomId, channel: &Channel) -> u32 {
        if let Some(index) = self.find(id) {
            return index;
        }
        let room = ShardRoom {
            id,
            channel: channel.clone(),
            members: Vec::new(),
            latest: None,
            latest_with_status: None,
            turn: 0,
            cursor: 0,
            remaining: 0,
            is_queued: false,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.rooms.push(None);
            u32::try_from(self.rooms.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = usize::try_from(index)
            .ok()
            .and_then(|i| self.rooms.get_mut(i))
        {
            *place = Some(room);
        }
        self.by_id.insert(id, index);
        index
    }

    /// Adds a client that has the newest frame or is about to receive it.
    pub(super) fn add_member(&mut self, index: u32, slot: u32) -> Option<RoomPosition> {
        let room = self.get_mut(index)?;
        let place = u32::try_from(room.members.len()).ok()?;
        room.members.push(ShardMember {
            slot,
            seen_turn: room.turn,
        });
        if room.remaining > 0 {
            // A broadcast goes round from the position where the last one ended, so the new
            // position may lie on its way. One more step makes sure that no other member is missed.
            room.remaining += 1;
        }
        Some(RoomPosition {
            room: index,
            member: place,
        })
    }

    /// Removes a member. Returns the room's id, and the slot of the client that moved into the
    /// freed position. Removes the room when it is empty.
    pub(super) fn remove_member(&mut self, seat: RoomPosition) -> Option<(RoomId, Option<u32>)> {
        let room = self.get_mut(seat.room)?;
        let place = usize::try_from(seat.member).ok()?;
        if place >= room.members.len() {
            return None;
        }
        room.members.swap_remove(place);
        let moved = room.members.get(place).map(|member| member.slot());
        let id = room.id;
        if room.remaining > 0 {
            // The moved member may have come from before the broadcast's position to behind it, so
            // all members are examined again. Those that have the frame are skipped.
            room.remaining = room.members.len();
        }
        if room.members.is_empty() {
            self.by_id.remove(&id);
            if let Some(place) = usize::try_from(seat.room)
                .ok()
                .and_then(|i| self.rooms.get_mut(i))
            {
                *place = None;
            }
            self.free.push(seat.room);
        }
        Some((id, moved))
    }

    /// Returns the room of a subscription and the member's index in it.
    pub(super) fn member(&mut self, seat: RoomPosition) -> Option<(&mut ShardRoom, usize)> {
        let place = usize::try_from(seat.member).ok()?;
        let room = self.get_mut(seat.room)?;
        (place < room.members.len()).then_some((room, place))
    }
}

#[cfg(test)]
#[path = "rooms_tests.rs"]
mod tests;
