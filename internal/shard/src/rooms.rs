//! The rooms of a shard: the members of each, and the progress of its newest frame.

use std::collections::HashMap;

use latido_hub::{RoomId, VersionedFrame};
use latido_session::RoomPosition;

/// The flag of a member whose socket is full. It catches up when the socket drains, not through a
/// broadcast.
const BLOCKED: u32 = 1 << 31;

/// The flag of a member that is in several rooms: the new frames of all of them leave in one write.
const OTHER_ROOMS: u32 = 1 << 30;

/// A client in a room. A broadcast reads all members of a room, so they are contiguous and take
/// eight bytes each.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardMember {
    /// The client's slot number, and the two flags.
    slot: u32,
    /// The value of the room's `turn` when the client last got its newest frame.
    pub(super) seen_turn: u32,
}

impl ShardMember {
    pub(super) fn slot(self) -> u32 {
        self.slot & !(BLOCKED | OTHER_ROOMS)
    }

    pub(super) fn is_blocked(self) -> bool {
        self.slot & BLOCKED != 0
    }

    pub(super) fn has_other_rooms(self) -> bool {
        self.slot & OTHER_ROOMS != 0
    }

    pub(super) fn set_flags(&mut self, blocked: bool, multi: bool) {
        self.slot =
            self.slot() | if blocked { BLOCKED } else { 0 } | if multi { OTHER_ROOMS } else { 0 };
    }
}

/// A channel with subscribers on this shard.
#[derive(Debug)]
pub(super) struct ShardRoom {
    pub(super) id: RoomId,
    pub(super) members: Vec<ShardMember>,
    pub(super) latest: Option<VersionedFrame>,
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
        self.turn = self.turn.wrapping_add(1);
        self.remaining = self.members.len();
        true
    }

    /// Returns whether the member lacks the newest frame.
    pub(super) fn is_stale(&self, member: ShardMember) -> bool {
        self.latest.is_some() && member.seen_turn != self.turn
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
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut ShardRoom> {
        self.rooms.get_mut(usize::try_from(index).ok()?)?.as_mut()
    }

    /// Returns the index of a room, or `None` if it has no members on this shard.
    pub(super) fn find(&self, id: RoomId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Returns the index of a room, and creates the room if necessary.
    pub(super) fn get_or_create(&mut self, id: RoomId) -> u32 {
        if let Some(index) = self.find(id) {
            return index;
        }
        let room = ShardRoom {
            id,
            members: Vec::new(),
            latest: None,
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use latido_base::ident::{Topic, Version};
    use latido_hub::{Hub, WatchObserver};
    use latido_protocol::Frame;
    use latido_stream::{Catalog, KeyType, Stream};

    struct IgnoreWatches;

    impl WatchObserver for IgnoreWatches {
        fn on_watched(&self, _: &Topic) {}
        fn on_unwatched(&self, _: &Topic) {}
    }

    /// Examines the next member of a broadcast, as the worker does.
    fn examine_next(room: &mut ShardRoom) -> u32 {
        room.remaining -= 1;
        let place = if room.cursor < room.members.len() {
            room.cursor
        } else {
            0
        };
        room.cursor = place + 1;
        room.members[place].seen_turn = room.turn;
        room.members[place].slot()
    }

    fn test_room_id() -> RoomId {
        let catalog = Arc::new(Catalog::new(vec![Stream::test_stream(
            "estadisticas",
            Some(KeyType::Integer),
        )]));
        let hub = Hub::new(Arc::clone(&catalog), Box::new(IgnoreWatches));
        let outlet = hub.register_shard(|| {});
        hub.subscribe(outlet.id(), &catalog.resolve("estadisticas:1").unwrap())
            .room
    }

    fn frame(version: u64) -> VersionedFrame {
        VersionedFrame {
            version: Version(version),
            frame: Frame::text("1"),
            content: latido_hub::FrameContent::Snapshot,
        }
    }

    /// A broadcast starts where the last one ended, so a new member's position may come before that
    /// of a member that still waits.
    #[test]
    fn member_joining_during_a_broadcast_does_not_hide_others() {
        let id = test_room_id();
        for (before, looked) in (0..4).flat_map(|before| (0..4).map(move |looked| (before, looked)))
        {
            let mut rooms = ShardRooms::default();
            let index = rooms.get_or_create(id);
            assert!((0..4).all(|slot| rooms.add_member(index, slot).is_some()));
            let room = rooms.get_mut(index).unwrap();
            room.cursor = before;
            assert!(room.set_latest(frame(1)));
            let seen: Vec<_> = (0..looked).map(|_| examine_next(room)).collect();
            assert!((4..6).all(|slot| rooms.add_member(index, slot).is_some()));
            let room = rooms.get_mut(index).unwrap();
            while room.remaining > 0 {
                examine_next(room);
            }
            assert!(
                room.members.iter().all(|member| !room.is_stale(*member)),
                "from {before} on, after {seen:?}"
            );
        }
    }

    /// A member leaves during a broadcast, and the last member moves to a position that the
    /// broadcast has passed.
    #[test]
    fn member_moving_during_a_broadcast_is_still_examined() {
        let id = test_room_id();
        for freed in 0..4 {
            let mut rooms = ShardRooms::default();
            let index = rooms.get_or_create(id);
            let seats: Vec<_> = (0..4)
                .map(|slot| rooms.add_member(index, slot).unwrap())
                .collect();
            let room = rooms.get_mut(index).unwrap();
            assert!(room.set_latest(frame(1)));
            let mut looked = vec![examine_next(room), examine_next(room)];
            rooms.remove_member(seats[freed]).unwrap();
            let room = rooms.get_mut(index).unwrap();
            while room.remaining > 0 {
                looked.push(examine_next(room));
            }
            assert!(
                room.members.iter().all(|member| !room.is_stale(*member)),
                "member {freed} left: {looked:?}"
            );
        }
    }
}
