//! A shard's side of the rooms: who sits in each, and how far its newest frame has got.

use std::collections::HashMap;

use crate::hub::{RoomId, Versioned};
use crate::session::Seat;

/// The member's socket is full: it is caught up when the socket drains, not by a pass.
const BLOCKED: u32 = 1 << 31;
/// The member sits in other rooms too: what is new in all of them leaves in one write.
const MULTI: u32 = 1 << 30;

/// A client in a room: eight bytes, side by side, because a broadcast reads all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// The client's slot, and two flags.
    slot: u32,
    /// The room's `turn` when the client last got its newest frame.
    pub(super) seen: u32,
}

impl Member {
    pub(super) fn slot(self) -> u32 {
        self.slot & !(BLOCKED | MULTI)
    }

    pub(super) fn is_blocked(self) -> bool {
        self.slot & BLOCKED != 0
    }

    pub(super) fn is_multi(self) -> bool {
        self.slot & MULTI != 0
    }

    pub(super) fn set_flags(&mut self, blocked: bool, multi: bool) {
        self.slot = self.slot() | if blocked { BLOCKED } else { 0 } | if multi { MULTI } else { 0 };
    }
}

/// A channel name with clients on this shard.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) id: RoomId,
    pub(super) members: Vec<Member>,
    pub(super) latest: Option<Versioned>,
    /// Counts the frames; what members compare `seen` with.
    pub(super) turn: u32,
    /// Where the pass goes on, modulo the number of members.
    pub(super) cursor: usize,
    /// Members still to be looked at by the pass.
    pub(super) remaining: usize,
    /// In the queue of rooms with a pass under way.
    pub(super) queued: bool,
}

impl Room {
    /// Takes a frame if it is newer than what the room has, and starts a pass; one under way goes on from where it is with the newer frame.
    pub(super) fn offer(&mut self, frame: Versioned) -> bool {
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

    /// Whether the member has not got the newest frame.
    pub(super) fn is_behind(&self, member: Member) -> bool {
        self.latest.is_some() && member.seen != self.turn
    }
}

/// All rooms of a shard; indices are reused, [`RoomId`]s never.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: Vec<Option<Room>>,
    free: Vec<u32>,
    by_id: HashMap<RoomId, u32>,
}

impl Rooms {
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Room> {
        self.rooms.get_mut(usize::try_from(index).ok()?)?.as_mut()
    }

    /// The room of that id, if anybody here sits in it.
    pub(super) fn find(&self, id: RoomId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The room of that id, made if it must be.
    pub(super) fn open(&mut self, id: RoomId) -> u32 {
        if let Some(index) = self.find(id) {
            return index;
        }
        let room = Room {
            id,
            members: Vec::new(),
            latest: None,
            turn: 0,
            cursor: 0,
            remaining: 0,
            queued: false,
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

    /// Seats a client that has got the newest frame, or is about to.
    pub(super) fn sit(&mut self, index: u32, slot: u32) -> Option<Seat> {
        let room = self.get_mut(index)?;
        let place = u32::try_from(room.members.len()).ok()?;
        room.members.push(Member {
            slot,
            seen: room.turn,
        });
        if room.remaining > 0 {
            // A pass goes round from wherever the last one ended, and the new place may lie on its way: nobody else loses a turn by it.
            room.remaining += 1;
        }
        Some(Seat { room: index, place })
    }

    /// Frees a seat. Returns the room's id, and who sits in that place now instead. An empty room goes.
    pub(super) fn leave(&mut self, seat: Seat) -> Option<(RoomId, Option<u32>)> {
        let room = self.get_mut(seat.room)?;
        let place = usize::try_from(seat.place).ok()?;
        if place >= room.members.len() {
            return None;
        }
        room.members.swap_remove(place);
        let moved = room.members.get(place).map(|member| member.slot());
        let id = room.id;
        if room.remaining > 0 {
            // The moved member may have come from before the pass to behind it: look at all again; who has the frame is passed over.
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

    /// The member in a seat, with its room.
    pub(super) fn member(&mut self, seat: Seat) -> Option<(&mut Room, usize)> {
        let place = usize::try_from(seat.place).ok()?;
        let room = self.get_mut(seat.room)?;
        (place < room.members.len()).then_some((room, place))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hub::{Hub, Observer};
    use crate::ident::{Topic, Version};
    use crate::protocol::Frame;
    use crate::stream::{Catalog, KeyType, Stream};

    struct Nobody;

    impl Observer for Nobody {
        fn watched(&self, _: &Topic) {}
        fn unwatched(&self, _: &Topic) {}
    }

    /// The next member that a pass looks at, as the worker goes on.
    fn look(room: &mut Room) -> u32 {
        room.remaining -= 1;
        let place = if room.cursor < room.members.len() {
            room.cursor
        } else {
            0
        };
        room.cursor = place + 1;
        room.members[place].seen = room.turn;
        room.members[place].slot()
    }

    fn a_room() -> RoomId {
        let catalog = Arc::new(Catalog::new(vec![Stream::fake(
            "estadisticas",
            Some(KeyType::Integer),
        )]));
        let hub = Hub::new(Arc::clone(&catalog), Box::new(Nobody));
        let outlet = hub.add_outlet(|| {});
        hub.subscribe(outlet.id(), &catalog.resolve("estadisticas:1").unwrap())
            .room
    }

    fn frame(version: u64) -> Versioned {
        Versioned {
            version: Version(version),
            frame: Frame::text("1"),
        }
    }

    /// Where a pass begins depends on where the last one ended, so the newcomer's place may come before somebody's who still waits.
    #[test]
    fn whoever_sits_down_within_a_pass_takes_nobodys_turn() {
        let id = a_room();
        for (before, looked) in (0..4).flat_map(|before| (0..4).map(move |looked| (before, looked)))
        {
            let mut rooms = Rooms::default();
            let index = rooms.open(id);
            assert!((0..4).all(|slot| rooms.sit(index, slot).is_some()));
            let room = rooms.get_mut(index).unwrap();
            room.cursor = before;
            assert!(room.offer(frame(1)));
            let seen: Vec<_> = (0..looked).map(|_| look(room)).collect();
            assert!((4..6).all(|slot| rooms.sit(index, slot).is_some()));
            let room = rooms.get_mut(index).unwrap();
            while room.remaining > 0 {
                look(room);
            }
            assert!(
                room.members.iter().all(|member| !room.is_behind(*member)),
                "from {before} on, after {seen:?}"
            );
        }
    }

    /// A seat is freed in the middle of a pass, and the last member moves to where the pass has been.
    #[test]
    fn whoever_moves_within_a_pass_is_looked_at_all_the_same() {
        let id = a_room();
        for freed in 0..4 {
            let mut rooms = Rooms::default();
            let index = rooms.open(id);
            let seats: Vec<_> = (0..4).map(|slot| rooms.sit(index, slot).unwrap()).collect();
            let room = rooms.get_mut(index).unwrap();
            assert!(room.offer(frame(1)));
            let mut looked = vec![look(room), look(room)];
            rooms.leave(seats[freed]).unwrap();
            let room = rooms.get_mut(index).unwrap();
            while room.remaining > 0 {
                looked.push(look(room));
            }
            assert!(
                room.members.iter().all(|member| !room.is_behind(*member)),
                "seat {freed} was freed: {looked:?}"
            );
        }
    }
}
