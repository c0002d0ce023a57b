//! Counts the frames in the bytes of a client, for a reader that reports messages only.
//!
//! A message may have any number of fragments, and a fragment may be empty. A limit on messages
//! therefore limits neither the frames nor the work that they cause.

use crate::websocket::header::{self, MAX_HEADER_BYTES};

/// The position within the frames of one client.
#[derive(Debug, Default)]
pub struct FrameCounter {
    header: [u8; MAX_HEADER_BYTES],
    header_len: usize,
    /// The payload bytes of the current frame that have yet to come.
    payload_left: u64,
    /// Set after a frame that no reader accepts.
    is_broken: bool,
}

/// The frames that began in some bytes, and the payload bytes among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameCount {
    /// The number of frames.
    pub frames: usize,
    /// The number of payload bytes.
    pub payload_bytes: usize,
}

impl FrameCounter {
    /// Counts the frames in the next bytes. After a violation of the protocol, nothing is counted:
    /// the reader ends the connection.
    pub fn count(&mut self, mut bytes: &[u8]) -> FrameCount {
        let mut count = FrameCount::default();
        while !bytes.is_empty() && !self.is_broken {
            if self.payload_left > 0 {
                let here = usize::try_from(self.payload_left)
                    .map_or(bytes.len(), |left| left.min(bytes.len()));
                self.payload_left -= here as u64;
                count.payload_bytes += here;
                bytes = &bytes[here..];
                continue;
            }
            self.header[self.header_len] = bytes[0];
            self.header_len += 1;
            bytes = &bytes[1..];
            match header::parse(&self.header[..self.header_len]) {
                Ok(None) => {}
                Ok(Some((header, _))) => {
                    count.frames += 1;
                    (self.header_len, self.payload_left) = (0, header.len);
                }
                Err(_) => self.is_broken = true,
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_in_any_split() {
        let mut bytes = vec![
            0x01, 0x80, 0, 0, 0, 0, 0x80, 0x83, 0, 0, 0, 0, b'a', b'b', b'c',
        ];
        bytes.extend([0x82, 0x80 | 126, 0, 200, 0, 0, 0, 0]);
        bytes.extend([7; 200]);
        bytes.extend([0x89, 0x80, 0, 0, 0, 0]);
        let expected = FrameCount {
            frames: 4,
            payload_bytes: 203,
        };
        assert_eq!(FrameCounter::default().count(&bytes), expected);
        let mut counter = FrameCounter::default();
        let sum = bytes.chunks(1).fold(FrameCount::default(), |sum, chunk| {
            let one = counter.count(chunk);
            FrameCount {
                frames: sum.frames + one.frames,
                payload_bytes: sum.payload_bytes + one.payload_bytes,
            }
        });
        assert_eq!(sum, expected);
    }

    #[test]
    fn nothing_is_counted_after_a_violation() {
        let mut counter = FrameCounter::default();
        assert_eq!(counter.count(&[0x81, 0x00]), FrameCount::default());
        assert_eq!(counter.count(&[0x89, 0x80, 0, 0, 0, 0]).frames, 0);
    }
}
