//! Tests of rooms and their members.

use std::sync::Arc;

use super::*;
use latido_base::ident::{Key, Topic, Version};
use latido_hub::{Hub, WatchObserver};
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
        .unwrap()
        .room
}

fn test_channel() -> Channel {
    Channel {
        name: "estadisticas:1".into(),
        topic: Topic {
            stream: StreamId(0),
            key: Key::from_canonical("1"),
        },
    }
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
    for (before, looked) in (0..4).flat_map(|before| (0..4).map(move |looked| (before, looked))) {
        let mut rooms = ShardRooms::default();
        let index = rooms.get_or_create(id, &test_channel());
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
        let index = rooms.get_or_create(id, &test_channel());
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

fn unreadable(version: u64) -> VersionedFrame {
    let stale_since = Some(5);
    VersionedFrame {
        content: FrameContent::Unreadable { stale_since },
        ..frame(version)
    }
}

/// Returns the messages that a member gets as its newest frame.
fn taken(room: &mut ShardRoom, index: usize) -> String {
    let taken = room.take_frame(index).unwrap();
    let text = String::from_utf8_lossy(taken.frame.as_bytes()).into_owned();
    assert_eq!(taken.count > 1, text.contains("status"), "{text}");
    text
}

#[test]
fn status_comes_to_members_with_numbers_and_is_always_taken_back() {
    let mut rooms = ShardRooms::default();
    let index = rooms.get_or_create(test_room_id(), &test_channel());
    assert!((0..2).all(|slot| rooms.add_member(index, slot).is_some()));
    let room = rooms.get_mut(index).unwrap();
    room.set_latest(frame(1));
    // The second member is behind, and gets no numbers before the error.
    assert!(!taken(room, 0).contains("status"));
    room.set_latest(unreadable(2));
    let told = taken(room, 0);
    assert!(
        told.ends_with(
            r#"{"type":"status","channel":"estadisticas:1","data":{"stale":true,"since":5}}"#
        ),
        "{told}"
    );
    assert!(!taken(room, 1).contains("status"));
    assert!(room.parting_frame(0).is_some() && room.parting_frame(1).is_none());
    room.members[0].set_flags(true, true);
    assert!(room.members[0].is_blocked() && room.members[0].slot() == 0);
    // A frame that the members do not get is between the error and the next one.
    room.set_latest(frame(3));
    room.set_latest(frame(4));
    assert!(taken(room, 0).ends_with(r#""data":{"stale":false}}"#));
    assert!(!taken(room, 1).contains("status"));
    assert!(room.parting_frame(0).is_none());
    room.set_latest(unreadable(5));
    room.set_latest(unreadable(6));
    for index in 0..2 {
        assert!(taken(room, index).contains(r#""stale":true"#));
        assert!(!taken(room, index).contains("status"), "once");
    }
}
