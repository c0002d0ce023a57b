//! The frames that wait for a client's next poll.

use std::collections::VecDeque;

use latido_event_bus::SlowConsumer;
use latido_protocol::Frame;

/// The largest number of waiting frames, and of their bytes. It allows for the replies and the
/// presence lists of a client that joins all its channels at once.
pub(super) const MAX_WAITING_FRAMES: usize = 1024;
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// The frames that wait for a client's next poll, shared with other clients.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Outgoing {
    /// Adds a frame at the end.
    ///
    /// # Errors
    /// Returns an error if too much is waiting already: the client does not poll.
    pub(super) fn push(&mut self, frame: &Frame) -> Result<(), SlowConsumer> {
        let bytes = self.bytes + frame.as_bytes().len();
        if self.frames.len() == MAX_WAITING_FRAMES || bytes > MAX_WAITING_BYTES {
            return Err(SlowConsumer);
        }
        self.bytes = bytes;
        self.frames.push_back(frame.clone());
        Ok(())
    }

    /// Puts frames that were not sent back to the front.
    pub(super) fn put_back(&mut self, frames: Vec<Frame>) {
        for frame in frames.into_iter().rev() {
            self.bytes += frame.as_bytes().len();
            self.frames.push_front(frame);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn take(&mut self) -> Vec<Frame> {
        self.bytes = 0;
        std::mem::take(&mut self.frames).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_limited_in_number_and_bytes() {
        let mut outgoing = Outgoing::default();
        for number in 0..MAX_WAITING_FRAMES {
            outgoing.push(&Frame::text(&number.to_string())).unwrap();
        }
        assert_eq!(outgoing.push(&Frame::text("more")), Err(SlowConsumer));
        let taken = outgoing.take();
        assert_eq!(taken.len(), MAX_WAITING_FRAMES);
        let large = Frame::text(&"x".repeat(MAX_WAITING_BYTES / 2));
        outgoing.push(&large).unwrap();
        assert_eq!(outgoing.push(&large), Err(SlowConsumer));
        outgoing.take();
        outgoing.push(&Frame::text("last")).unwrap();
        outgoing.put_back(taken);
        let texts: Vec<_> = outgoing.take();
        let texts: Vec<&str> = texts.iter().map(Frame::payload).collect();
        assert_eq!(
            (texts[0], texts[1], texts[MAX_WAITING_FRAMES]),
            ("0", "1", "last")
        );
    }
}
