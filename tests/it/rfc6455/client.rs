//! A client that sends arbitrary bytes and validates every byte of the response.

use std::net::SocketAddr;

use latido_session::SessionLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::conformance::{LIMITS, serve};
use crate::harness::within;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const HEAD: &str = "GET /any/path?at=all HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A message that the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReceivedFrame {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// The close code, or `None` if the frame has none.
    Close(Option<u16>),
    /// The end of the stream.
    End,
}

/// Starts an echo server, which ends with the runtime of its test.
pub(super) async fn server() -> SocketAddr {
    server_with(LIMITS).await
}

pub(super) async fn server_with(limits: SessionLimits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { serve(listener, limits).await });
    address
}

/// Builds a client's frame. `first` is the complete first byte.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

pub(super) fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason].concat())
}

/// The receiving and the sending half of one connection.
pub(super) struct FrameReceiver(OwnedReadHalf);
pub(super) struct ByteSender(OwnedWriteHalf);

pub(super) async fn connect(server: SocketAddr) -> (FrameReceiver, ByteSender) {
    let mut socket = TcpStream::connect(server).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(HEAD.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(socket.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{head}"
    );
    let (reader, writer) = socket.into_split();
    (FrameReceiver(reader), ByteSender(writer))
}

impl ByteSender {
    /// Sends the bytes in pieces of `at_a_time`. The server may close the connection before the
    /// end.
    pub(super) async fn send(&mut self, bytes: &[u8], at_a_time: usize) {
        for piece in bytes.chunks(at_a_time) {
            if self.0.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}

impl FrameReceiver {
    /// Receives the next message. Asserts §5.1 (no mask), §5.2 (no reserved bits, shortest length)
    /// and §5.5 (short control frames) for every frame.
    pub(super) async fn receive(&mut self) -> ReceivedFrame {
        // A connection that is reset after its close frame has ended as well.
        let Ok(first) = within(self.0.read_u8()).await else {
            return ReceivedFrame::End;
        };
        let second = self.0.read_u8().await.unwrap();
        assert_eq!(first & 0xF0, 0x80, "whole frames without reserved bits");
        assert_eq!(second & 0x80, 0, "a server masks nothing");
        let len = match second {
            126 => u64::from(self.0.read_u16().await.unwrap()),
            127 => self.0.read_u64().await.unwrap(),
            short => short.into(),
        };
        let shortest = [(126, 126), (127, 65_536)]
            .into_iter()
            .find(|(mark, _)| *mark == second)
            .map_or(0, |(_, least)| least);
        assert!(
            len >= shortest && (first & 0x08 == 0 || len <= 125),
            "{first:x} {len}"
        );
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        within(self.0.read_exact(&mut payload)).await.unwrap();
        match first & 0x0F {
            0x1 => ReceivedFrame::Text(payload),
            0x2 => ReceivedFrame::Binary(payload),
            0x8 => {
                ReceivedFrame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))
            }
            0x9 => panic!("unexpected ping: no client was silent for long enough"),
            0xA => ReceivedFrame::Pong(payload),
            other => panic!("opcode {other}"),
        }
    }
}

impl FrameReceiver {
    /// Reads all bytes until the end, without parsing them.
    pub(super) async fn read_to_end(&mut self, bytes: &mut Vec<u8>) {
        within(self.0.read_to_end(bytes)).await.unwrap();
    }
}
