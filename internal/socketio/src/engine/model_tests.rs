//! The session against a simple model: polling and WebSocket interleaved at every point. Nothing is
//! lost, nothing comes twice, the order is kept, and the session ends once.

use proptest::collection::vec;
use proptest::prelude::*;

use latido_socketio_protocol::engineio::{Packet, PayloadBody, PayloadLimits, decode_payload};

use super::*;
use latido_socketio_protocol::engineio::Version;

const TIMING: Timing = Timing {
    ping_interval: 1_000,
    ping_timeout: 500,
};

/// One move of the server, the client or the network.
#[derive(Debug, Clone)]
enum Move {
    /// The app sends the next message.
    Send,
    /// The client sends the next message, on the transport that it uses.
    Receive,
    /// The client polls, if it has no poll waiting and has not upgraded.
    Poll,
    /// The client probes a WebSocket.
    Probe,
    /// The WebSocket breaks before the upgrade.
    SpoilProbe,
    /// The client upgrades, with or without a probe.
    Upgrade,
    /// Time passes; the client answers pings in time.
    Wait(Millis),
    /// The client breaks off its poll.
    Abort,
    /// The client closes the session.
    Close,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => Just(Move::Send),
        6 => Just(Move::Receive),
        8 => Just(Move::Poll),
        2 => Just(Move::Probe),
        1 => Just(Move::SpoilProbe),
        1 => Just(Move::Upgrade),
        6 => (0_u64..400).prop_map(Move::Wait),
        1 => Just(Move::Abort),
        1 => Just(Move::Close),
    ];
    vec(one, 0..60)
}

/// The session with its client.
struct Model {
    session: EngineSession,
    version: Version,
    now: Millis,
    sent: usize,
    received: Vec<usize>,
    client_sent: usize,
    server_received: Vec<usize>,
    has_poll: bool,
    is_upgraded: bool,
    /// The ends that were seen, each once.
    ends: Vec<SessionEnd>,
}

impl Model {
    fn new(version: Version) -> Self {
        Self {
            session: EngineSession::polling(version, false, &TIMING, 0),
            version,
            now: 0,
            sent: 0,
            received: Vec::new(),
            client_sent: 0,
            server_received: Vec::new(),
            has_poll: false,
            is_upgraded: false,
            ends: Vec::new(),
        }
    }

    fn run(&mut self, one: &Move) {
        match one {
            Move::Send => {
                self.session.push_text(format!("4{}", self.sent));
                self.sent += usize::from(self.session.end().is_none());
            }
            Move::Receive => {
                let text = self.client_sent.to_string();
                let is_open = self.session.end().is_none();
                if let Some(Message::Text(text)) =
                    self.session
                        .on_packet(Packet::Text(&text), &TIMING, self.now)
                {
                    self.server_received.push(text.parse().unwrap());
                }
                self.client_sent += usize::from(is_open);
            }
            Move::Poll if !self.has_poll && !self.is_upgraded => {
                let start = self.session.on_poll(self.now);
                self.has_poll = start == PollStart::Waits;
                assert!(self.has_poll || self.session.end().is_some());
            }
            Move::Probe if !self.is_upgraded => self.session.on_probe(self.now),
            Move::SpoilProbe if !self.is_upgraded => self.session.on_probe_ended(),
            // A client upgrades after its last poll has ended.
            Move::Upgrade if !self.has_poll => self.is_upgraded |= self.session.on_upgrade(),
            Move::Wait(ms) => {
                self.now += ms;
                self.session.on_timer(&TIMING, self.now);
            }
            Move::Abort if self.has_poll => {
                self.session.on_poll_aborted(self.now);
                self.has_poll = false;
            }
            Move::Close => {
                self.session.on_packet(Packet::Close, &TIMING, self.now);
            }
            _ => {}
        }
        self.deliver();
        if let Some(end) = self.session.end()
            && self.ends.last() != Some(&end)
        {
            self.ends.push(end);
        }
    }

    /// Takes what the session has for its transport.
    fn deliver(&mut self) {
        if let Some(body) = self.session.take_poll(self.now) {
            assert!(self.has_poll, "only a waiting poll is answered");
            self.has_poll = false;
            let limits = PayloadLimits {
                packets: 1_000,
                bytes: 100_000,
            };
            let text = String::from_utf8(body.bytes).unwrap();
            let packets: Vec<_> = decode_payload(self.version, PayloadBody::Text(&text), &limits)
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert!(!packets.is_empty());
            packets
                .into_iter()
                .for_each(|packet| self.on_packet(&packet));
        }
        while let Some(packet) = self.session.next_frame() {
            assert!(self.is_upgraded);
            let OutPacket::Text(text) = packet else {
                panic!("no bytes were sent")
            };
            self.on_packet(&Packet::from_text(self.version, &text).unwrap());
        }
    }

    fn on_packet(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Text(text) => self.received.push(text.parse().unwrap()),
            Packet::Ping(_) => {
                self.session.on_packet(Packet::Pong(""), &TIMING, self.now);
            }
            Packet::Noop | Packet::Close | Packet::Pong(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn check(mut self) {
        assert_eq!(
            self.server_received,
            (0..self.server_received.len()).collect::<Vec<_>>()
        );
        assert_eq!(self.server_received.len(), self.client_sent);
        assert!(self.ends.len() <= 1, "{:?}", self.ends);
        assert_eq!(self.received, (0..self.received.len()).collect::<Vec<_>>());
        if self.session.end().is_none() {
            // One more poll, or nothing on a WebSocket, and the client has everything.
            self.run(&Move::Poll);
            assert_eq!(self.received.len(), self.sent);
        }
        assert_eq!(self.received, (0..self.received.len()).collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn every_message_arrives_once_and_in_order(moves in moves(), is_v3: bool) {
        let mut model = Model::new(if is_v3 { Version::V3 } else { Version::V4 });
        for one in &moves {
            model.run(one);
        }
        model.check();
    }
}
