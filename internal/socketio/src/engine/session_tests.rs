//! The session of Engine.IO, move by move.

use latido_socketio_protocol::engineio::{Packet, Version};

use super::session::PollStart::{Refused, Waits};
use super::*;

const TIMING: Timing = Timing {
    ping_interval: 25_000,
    ping_timeout: 20_000,
};

fn polling(version: Version) -> EngineSession {
    let mut session = EngineSession::polling(version, true, &TIMING, 0);
    session.push_text("0{}".to_owned());
    assert_eq!(session.on_poll(0), Waits);
    session.take_poll(0).unwrap();
    session
}

fn take(session: &mut EngineSession, now: Millis) -> Option<String> {
    let body = session.take_poll(now)?;
    Some(String::from_utf8(body.bytes).unwrap())
}

fn frames(session: &mut EngineSession) -> Vec<OutPacket> {
    std::iter::from_fn(|| session.next_frame()).collect()
}

fn text(packet: &str) -> OutPacket {
    OutPacket::Text(packet.to_owned())
}

#[test]
fn poll_waits_for_packets() {
    let mut session = polling(Version::V4);
    assert_eq!(session.on_poll(1), Waits);
    assert_eq!(take(&mut session, 1), None);
    session.push_text("4a".to_owned());
    session.push_binary(&[1, 2, 3, 4]);
    assert_eq!(take(&mut session, 2).as_deref(), Some("4a\u{1e}bAQIDBA=="));
    assert_eq!(take(&mut session, 3), None, "no poll waits");
}

#[test]
fn second_poll_and_aborted_poll_end_the_session() {
    let mut session = polling(Version::V4);
    assert_eq!(session.on_poll(1), Waits);
    assert_eq!(session.on_poll(2), Refused);
    assert_eq!(session.end(), Some(SessionEnd::PollOverlap));
    assert_eq!(take(&mut session, 2).as_deref(), Some("1"));
    assert!(session.is_finished(2));
    let mut session = polling(Version::V4);
    session.on_poll_aborted(1);
    assert_eq!(session.end(), None, "no poll was waiting");
    assert_eq!(session.on_poll(1), Waits);
    session.on_poll_aborted(2);
    assert_eq!(session.end(), Some(SessionEnd::PollAborted));
    assert!(session.is_finished(2));
}

#[test]
fn close_releases_the_poll_on_either_side_of_it() {
    let mut session = polling(Version::V4);
    session.on_poll(1);
    session.on_packet(Packet::Close, &TIMING, 2);
    assert_eq!(take(&mut session, 2).as_deref(), Some("6"));
    assert_eq!(session.on_poll(3), Refused);
    // The packet overtook the poll.
    let mut session = polling(Version::V3);
    session.on_packet(Packet::Close, &TIMING, 2);
    assert!(!session.is_finished(2));
    assert_eq!(session.on_poll(3), Waits);
    assert_eq!(take(&mut session, 3).as_deref(), Some("1:6"));
    assert_eq!(session.on_poll(4), Refused);
    assert!(session.is_finished(4));
    let mut session = polling(Version::V4);
    session.on_packet(Packet::Close, &TIMING, 2);
    assert!(session.is_finished(3_000));
    assert_eq!(session.on_poll(3_000), Refused);
}

#[test]
fn probe_releases_few_polls() {
    let mut session = polling(Version::V4);
    session.on_probe(1_000);
    let mut released = Vec::new();
    session.on_poll(1_000);
    for now in 1_000..20_000 {
        if let Some(body) = take(&mut session, now) {
            assert_eq!(body, "6");
            released.push(now);
            assert_eq!(session.on_poll(now), Waits);
        }
    }
    assert_eq!(released, [1_100, 1_500, 3_000, 6_000]);
    assert_eq!(session.end(), None);
}

#[test]
fn spoiled_probe_leaves_the_session_polling() {
    let mut session = polling(Version::V4);
    session.on_poll(1);
    session.on_probe(2);
    session.on_probe_ended();
    assert_eq!(take(&mut session, 1_000), None, "the poll is not released");
    session.push_text("4a".to_owned());
    assert_eq!(take(&mut session, 1_001).as_deref(), Some("4a"));
}

#[test]
fn upgrade_takes_the_queue_along_and_needs_no_probe() {
    let mut session = polling(Version::V4);
    session.push_text("4a".to_owned());
    assert!(session.on_upgrade());
    session.push_text("4b".to_owned());
    assert_eq!(frames(&mut session), [text("4a"), text("4b")]);
    assert_eq!(session.on_poll(5), Refused);
    assert_eq!(session.end(), None, "the session goes on");
    assert!(!session.on_upgrade());
}

#[test]
fn server_pings_in_version_4_and_the_client_in_version_3() {
    let mut session = EngineSession::websocket(Version::V4, &TIMING, 0);
    assert_eq!(session.next_timer(), Some(24_990));
    session.on_timer(&TIMING, 24_989);
    assert!(frames(&mut session).is_empty());
    session.on_timer(&TIMING, 25_000);
    assert_eq!(frames(&mut session), [text("2")]);
    session.on_packet(Packet::Pong(""), &TIMING, 26_000);
    assert_eq!(session.next_timer(), Some(51_000));
    // A ping that is 100 ms late does not delay the timeout.
    session.on_timer(&TIMING, 51_100);
    session.on_timer(&TIMING, 70_999);
    assert_eq!(session.end(), None);
    session.on_timer(&TIMING, 71_000);
    assert_eq!(session.end(), Some(SessionEnd::PingTimeout));

    let mut session = EngineSession::websocket(Version::V3, &TIMING, 0);
    session.on_packet(Packet::Ping("x"), &TIMING, 40_000);
    assert_eq!(frames(&mut session), [text("3x")]);
    session.on_timer(&TIMING, 84_999);
    assert_eq!(session.end(), None);
    session.on_timer(&TIMING, 85_000);
    assert_eq!(session.end(), Some(SessionEnd::PingTimeout));
    for (version, packet) in [
        (Version::V4, Packet::Ping("")),
        (Version::V3, Packet::Pong("")),
    ] {
        let mut session = EngineSession::websocket(version, &TIMING, 0);
        session.on_packet(packet, &TIMING, 1);
        assert_eq!(session.end(), Some(SessionEnd::Invalid));
    }
}

#[test]
fn ended_session_sends_what_was_queued_and_then_closes() {
    let mut session = polling(Version::V4);
    session.push_text("4a".to_owned());
    session.close(SessionEnd::Server, 1);
    session.push_text("4b".to_owned());
    session.close(SessionEnd::Client, 2);
    assert_eq!(
        session.end(),
        Some(SessionEnd::Server),
        "the first end counts"
    );
    let mut session = polling(Version::V4);
    session.on_poll(1);
    session.push_text("4a".to_owned());
    session.close(SessionEnd::Server, 1);
    assert_eq!(take(&mut session, 1).as_deref(), Some("4a\u{1e}1"));
}
