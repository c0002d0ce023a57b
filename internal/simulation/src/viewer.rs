//! A client of the simulated server, which checks for frames that it must never receive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::topics::{key_fields, topic_of_channel};
use crate::violation::Violation;
use latido_protocol::native::UNREADABLE_MESSAGE;

/// The last row of a channel on this connection.
#[derive(Default, Clone)]
pub(super) struct LastRow {
    pub(super) version: u64,
    pub(super) data: Value,
    /// True if the next frame may repeat this one, because the client subscribed again.
    repeats: bool,
    /// True if the viewer was told that the channel cannot be read, and no row came since.
    pub(super) is_told: bool,
    /// True if the viewer was told that its numbers of the channel are old, and not yet that they
    /// are current again.
    pub(super) is_old: bool,
}

/// The simulated client; see the documentation of this module.
#[derive(Default)]
pub(super) struct SimViewer {
    socket: Option<UnixStream>,
    bytes: Vec<u8>,
    /// True while the client does not read.
    pub(super) is_paused: bool,
    /// True if the client did not read before, so the frames it reads now may be old.
    has_backlog: bool,
    /// The subscribed channels, with the last row of each.
    pub(super) subscribed: BTreeMap<String, LastRow>,
    /// The highest version ever received of a key, over all connections.
    best_versions: BTreeMap<u8, u64>,
    /// The keys that this user was ever permitted to read.
    pub(super) allowed: BTreeSet<u8>,
    /// The keys that ever failed, so that the viewer may be told that they cannot be read.
    pub(super) may_be_told: BTreeSet<u8>,
    /// The time by which the connection must have ended, in Unix seconds.
    pub(super) ends_at_s: i64,
    pub(super) is_stale: bool,
    /// The code of the close frame that ended the last connection.
    pub(super) closed: Option<u16>,
    /// A digest of all bytes ever read. Two runs of a seed must agree on it.
    pub(super) digest: u64,
}

impl SimViewer {
    /// Starts a new connection on the socket.
    pub(super) fn connect(&mut self, socket: UnixStream, ends_at_s: i64) {
        socket.set_nonblocking(true).unwrap();
        self.disconnect();
        (self.socket, self.ends_at_s, self.closed, self.is_paused) =
            (Some(socket), ends_at_s, None, false);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn disconnect(&mut self) {
        self.socket = None;
        self.bytes.clear();
        self.subscribed.clear();
        self.is_stale = false;
    }

    /// Sends a JSON message as a text frame.
    pub(super) fn send(&mut self, message: &Value) {
        self.frame(0x1, message.to_string().as_bytes());
    }

    /// Subscribes to a channel. The response may repeat the current row.
    pub(super) fn subscribe(&mut self, name: &str) {
        if let Some(seen) = self.subscribed.get_mut(name) {
            seen.repeats = true;
        }
        self.send(&json!({"type": "subscribe", "channel": name}));
    }

    /// Sends a frame with a mask of zeros, which leaves its bytes unchanged.
    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        let length = u8::try_from(payload.len())
            .ok()
            .filter(|length| *length < 126)
            .expect("short messages only");
        let head = [0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
        // The server may be gone or may not read. The viewer detects its end when reading.
        let _ = socket.write(&[&head, payload].concat());
    }

    /// Stops reading until the viewer is resumed.
    pub(super) fn pause(&mut self) {
        (self.is_paused, self.has_backlog) = (true, true);
    }

    /// Reads at most `most` bytes. Returns true if there was data.
    pub(super) fn read(
        &mut self,
        most: usize,
        now_s: i64,
        jumped: bool,
    ) -> Result<bool, Violation> {
        let mut buffer = [0; 16 * 1024];
        let (mut left, mut ended) = (most, false);
        while let Some(socket) = &mut self.socket
            && left > 0
        {
            let room = left.min(buffer.len());
            match socket.read(&mut buffer[..room]) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(count) => {
                    self.bytes.extend_from_slice(&buffer[..count]);
                    left -= count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        while let Some((opcode, payload)) = self.next_frame() {
            self.on_frame(opcode, &payload, now_s, jumped || self.has_backlog)?;
        }
        if ended {
            self.disconnect();
        }
        // A paused viewer will still have to read all frames that arrive from now on.
        self.has_backlog &= left < most || self.is_paused;
        Ok(left < most)
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, short) = (*self.bytes.first()?, *self.bytes.get(1)?);
        let (length, head) = match short {
            126 => (
                usize::from(u16::from_be_bytes([
                    *self.bytes.get(2)?,
                    *self.bytes.get(3)?,
                ])),
                4,
            ),
            length => (usize::from(length), 2),
        };
        let payload = self.bytes.get(head..head + length)?.to_vec();
        self.bytes.drain(..head + length);
        Some((first & 0x0f, payload))
    }

    fn on_frame(
        &mut self,
        opcode: u8,
        payload: &[u8],
        now_s: i64,
        jumped: bool,
    ) -> Result<(), Violation> {
        for byte in payload {
            self.digest = self
                .digest
                .wrapping_mul(0x100_0000_01b3)
                .wrapping_add(u64::from(*byte));
        }
        if self.closed.is_some() {
            return Err("a frame came after the close frame".to_owned());
        }
        match opcode {
            0x8 => {
                self.closed = Some(u16::from_be_bytes([payload[0], payload[1]]));
                self.subscribed.clear();
                self.frame(0x8, &payload[..2]);
            }
            0x9 => self.frame(0xa, payload),
            0x1 => self.on_message(
                &serde_json::from_slice(payload).map_err(|error| error.to_string())?,
                now_s,
                jumped,
            )?,
            _ => return Err(format!("opcode {opcode}")),
        }
        Ok(())
    }

    fn on_message(&mut self, message: &Value, now_s: i64, jumped: bool) -> Result<(), Violation> {
        let name = || {
            message["data"]["channel"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        match message["type"].as_str().unwrap_or_default() {
            "subscribed" => {
                let name = name();
                if !self.allowed.contains(&topic_of_channel(&name)) {
                    return Err(format!("{name} was granted without permission"));
                }
                self.subscribed.entry(name).or_default().repeats = true;
            }
            "unsubscribed" => {
                let name = name();
                if self.subscribed.get(&name).is_some_and(|seen| seen.is_old) {
                    return Err(format!("{name} ended, and its status was not taken back"));
                }
                self.forget_channel(&name);
            }
            "error" if message["data"]["code"] == "forbidden" => self.forget_channel(&name()),
            "error" if message["data"]["message"] == UNREADABLE_MESSAGE => {
                self.on_unreadable(&name(), jumped)?;
            }
            "authenticated" => {
                self.ends_at_s = message["data"]["expires_at"].as_i64().unwrap_or_default()
                    + latido_auth::LEEWAY_S;
            }
            "status" => {
                let is_stale = message["data"]["stale"] == true;
                match message["channel"].as_str() {
                    None => self.is_stale = is_stale,
                    Some(name) => self.on_channel_status(name, is_stale)?,
                }
            }
            "stats" => self.on_stats(message, now_s, jumped)?,
            _ => {}
        }
        Ok(())
    }

    /// The staleness status only concerns watched channels.
    fn forget_channel(&mut self, name: &str) {
        self.subscribed.remove(name);
        self.is_stale &= !self.subscribed.is_empty();
    }

    /// A viewer is told that a channel cannot be read only if its key or its stream failed.
    fn on_unreadable(&mut self, name: &str, has_backlog: bool) -> Result<(), Violation> {
        if !self.may_be_told.contains(&topic_of_channel(name)) {
            return Err(format!(
                "{name} works, and its viewer is told that it does not"
            ));
        }
        let Some(seen) = self.subscribed.get_mut(name) else {
            return Err(format!("an error of {name}, which it does not hold"));
        };
        // A subscription repeats the error. A row between two errors may have been replaced by the
        // second one, if the viewer did not read.
        if seen.is_told && !has_backlog && !std::mem::take(&mut seen.repeats) {
            return Err(format!("{name} is called unreadable twice"));
        }
        seen.is_told = true;
        Ok(())
    }

    /// Only numbers that this connection got can be old, and only while the channel cannot be read.
    fn on_channel_status(&mut self, name: &str, is_stale: bool) -> Result<(), Violation> {
        match self.subscribed.get_mut(name) {
            Some(seen) if !is_stale || (seen.version > 0 && seen.is_told && !seen.is_old) => {
                seen.is_old = is_stale;
                Ok(())
            }
            // A subscription that was withdrawn has ended already for the viewer.
            None if !is_stale => Ok(()),
            _ => Err(format!("{name} is called stale: {is_stale}")),
        }
    }

    fn on_stats(&mut self, message: &Value, now_s: i64, jumped: bool) -> Result<(), Violation> {
        let name = message["channel"].as_str().unwrap_or_default();
        let version = message["v"].as_u64().unwrap_or_default();
        let Some(seen) = self.subscribed.get_mut(name) else {
            return Err(format!("a frame of {name}, which it does not hold"));
        };
        if seen.version > version || (seen.version == version && !std::mem::take(&mut seen.repeats))
        {
            return Err(format!("{name}: version {version} after {}", seen.version));
        }
        let key = topic_of_channel(name);
        for (field, expected) in key_fields(key) {
            let written = message["data"][field].to_string();
            let bare = written.trim_matches('"');
            let prefix = field.strip_suffix("id").unwrap_or_default();
            if bare.strip_prefix(prefix).unwrap_or(bare) != expected {
                return Err(format!("{name} shows {field} {written}"));
            }
        }
        let best = self.best_versions.entry(key).or_default();
        if *best > version {
            return Err(format!(
                "{name}: version {version}, and on an earlier connection {best}"
            ));
        }
        *best = version;
        if now_s > self.ends_at_s + 2 && !jumped {
            return Err(format!(
                "{name}: served {} s after its token ended",
                now_s - self.ends_at_s
            ));
        }
        seen.is_told = false;
        (seen.version, seen.data) = (version, message["data"].clone());
        Ok(())
    }
}
