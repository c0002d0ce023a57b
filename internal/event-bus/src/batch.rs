//! The order in which a shard delivers what it drained from its queue: client by client, so that
//! several events for one client leave in one write. Pure code.

use std::collections::VecDeque;

use crate::{Address, Delivery, End, Event, MAILBOX, Taken};
use latido_protocol::Frame;

/// The maximum number of recipients that are sorted together, which takes about 1 ms. A single
/// event with more recipients needs no sorting.
const SORTED: usize = 16_384;

/// A function that encodes an event for clients with the same encoding. It returns `None` if all of
/// them are gone.
pub type Encode<'a> = dyn Fn(&Event, &[Address]) -> Option<Frame> + 'a;

/// One delivery for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work<'a> {
    /// Send this frame to the client.
    Frame(&'a Frame),
    /// Close the client's connection.
    End(End),
}

#[derive(Debug)]
enum Piece {
    Frame(Frame),
    End(End),
}

/// The deliveries that a shard has drained but not finished. While any remain, the shard drains no
/// more; this holds publishers back.
#[derive(Debug, Default)]
pub struct Batch {
    waiting: VecDeque<Delivery>,
    /// The encoded deliveries, each encoded only once.
    pieces: Vec<Piece>,
    /// The client and the index of its piece, sorted by client and then by delivery order.
    work: Vec<(Address, u32)>,
    /// The number of finished entries in `deliveries`.
    done: usize,
}

impl Batch {
    /// Adds drained deliveries. The shard handles an overrun itself: it disconnects every client of
    /// that queue and drops the batch.
    pub fn put(&mut self, drained: Taken) {
        self.waiting.extend(drained.deliveries);
    }

    /// Returns `true` if all deliveries are finished.
    pub fn is_empty(&self) -> bool {
        self.done == self.work.len() && self.waiting.is_empty()
    }

    /// Returns the next client with all its deliveries of the current stretch, in order. Calls
    /// `encode` for an event that has no frame for the recipients' encoding yet.
    pub fn next<'a>(
        &'a mut self,
        encode: &Encode<'_>,
    ) -> Option<(Address, impl Iterator<Item = Work<'a>> + use<'a>)> {
        while self.done == self.work.len() && !self.waiting.is_empty() {
            self.load(encode);
        }
        let (to, _) = *self.work.get(self.done)?;
        let rest = &self.work[self.done..];
        let count = rest
            .iter()
            .take_while(|(address, _)| *address == to)
            .count();
        self.done += count;
        let pieces = &self.pieces;
        let deliveries = rest[..count]
            .iter()
            .filter_map(|(_, piece)| pieces.get(*piece as usize));
        Some((to, deliveries.map(Piece::work)))
    }

    /// Expands the next deliveries into one entry per recipient.
    fn load(&mut self, encode: &Encode<'_>) {
        self.pieces.clear();
        self.work.clear();
        self.done = 0;
        while let Some(delivery) = self.waiting.front() {
            let to = delivery.to();
            if !self.work.is_empty() && self.work.len() + to.len() > SORTED {
                break;
            }
            let index = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
            let piece = match delivery {
                Delivery::Event { event, dialect, .. } => event
                    .frame_if(*dialect, |event| encode(event, to))
                    .map(Piece::Frame),
                Delivery::Reply { frame, .. } => Some(Piece::Frame(frame.clone())),
                Delivery::End { end, .. } => Some(Piece::End(*end)),
            };
            if let Some(piece) = piece {
                self.work.extend(to.iter().map(|to| (*to, index)));
                self.pieces.push(piece);
            }
            self.waiting.pop_front();
        }
        if self.pieces.len() > 1 {
            self.work.sort_unstable();
        }
    }
}

impl Piece {
    fn work(&self) -> Work<'_> {
        match self {
            Self::Frame(frame) => Work::Frame(frame),
            Self::End(end) => Work::End(*end),
        }
    }
}

/// The error for a client with more than [`MAX_MAILBOX_EVENTS`] pending events. It must be
/// disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow;

/// The events for a client whose socket is full. It holds shared frames, not copies.
#[derive(Debug, Default)]
pub struct Backlog {
    frames: VecDeque<Frame>,
}

impl Backlog {
    /// Adds a frame at the end of the queue.
    ///
    /// # Errors
    /// Returns an error if the client already has [`MAX_MAILBOX_EVENTS`] pending frames.
    pub fn push(&mut self, frame: &Frame) -> Result<(), TooSlow> {
        if self.frames.len() == MAILBOX {
            return Err(TooSlow);
        }
        self.frames.push_back(frame.clone());
        Ok(())
    }

    /// Returns `true` if no frame is pending.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Appends frames to `out` for one write, until `out` holds at least `bytes` bytes or no frame
    /// is left. Returns the number of frames.
    pub fn drain_into(&mut self, out: &mut Vec<u8>, bytes: usize) -> usize {
        let before = self.frames.len();
        while out.len() < bytes
            && let Some(frame) = self.frames.pop_front()
        {
            out.extend_from_slice(frame.as_bytes());
        }
        before - self.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Body, Dialect};

    /// The slot of a client that has disconnected.
    const GONE: u32 = 13;

    fn address(slot: u32) -> Address {
        Address {
            slot,
            generation: 0,
        }
    }

    fn event(seq: u64, encoding: u16, to: &[u32]) -> Delivery {
        let event = Arc::new(Event::new(seq, 0, Box::default(), Body::State(Vec::new())));
        Delivery::Event {
            event,
            dialect: Dialect(encoding),
            to: to.iter().map(|slot| address(*slot)).collect(),
        }
    }

    fn all(batch: &mut Batch) -> Vec<(u32, Vec<String>)> {
        let mut all = Vec::new();
        let encode = |event: &Event, to: &[Address]| {
            (to[0].slot != GONE).then(|| Frame::text(&event.seq.to_string()))
        };
        while let Some((to, deliveries)) = batch.next(&encode) {
            let text = |delivery| match delivery {
                Work::Frame(frame) => frame.payload().to_owned(),
                Work::End(_) => "end".to_owned(),
            };
            all.push((to.slot, deliveries.map(text).collect()));
        }
        all
    }

    #[test]
    fn deliveries_are_grouped_by_client_and_in_order() {
        let mut batch = Batch::default();
        let end = Delivery::End {
            to: address(7),
            end: End::Dismissed("test"),
        };
        let reply = Delivery::Reply {
            to: address(2),
            frame: Frame::text("reply"),
        };
        let deliveries = vec![
            event(1, 0, &[9, 7]),
            event(1, 1, &[2]),
            reply,
            event(2, 0, &[7]),
            end,
            event(3, 1, &[2]),
        ];
        batch.put(Taken {
            deliveries,
            overrun: false,
        });
        assert!(!batch.is_empty());
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            all(&mut batch),
            [
                (2, texts(&["1", "reply", "3"])),
                (7, texts(&["1", "2", "end"])),
                (9, texts(&["1"]))
            ]
        );
        assert!(batch.is_empty());
    }

    #[test]
    fn long_stretch_is_cut_between_events() {
        let mut batch = Batch::default();
        let slots: Vec<_> = (0..10_000).rev().collect();
        batch.put(Taken {
            deliveries: (1..=4).map(|seq| event(seq, 0, &slots)).collect(),
            overrun: false,
        });
        let all = all(&mut batch);
        assert_eq!(
            all.len(),
            40_000,
            "each event separately, because two exceed the sort limit"
        );
        for slot in [0, 5_000, 9_999] {
            let received: Vec<_> = all
                .iter()
                .filter(|(to, _)| *to == slot)
                .flat_map(|(_, texts)| texts)
                .collect();
            assert_eq!(received, ["1", "2", "3", "4"]);
        }
    }

    #[test]
    fn events_without_encodable_recipients_are_skipped() {
        let mut batch = Batch::default();
        batch.put(Taken {
            deliveries: vec![
                event(1, 0, &[GONE]),
                event(2, 0, &[GONE]),
                event(3, 0, &[1]),
            ],
            overrun: false,
        });
        assert_eq!(all(&mut batch), [(1, vec!["3".to_owned()])]);
        batch.put(Taken {
            deliveries: vec![event(4, 0, &[GONE])],
            overrun: false,
        });
        assert!(all(&mut batch).is_empty() && batch.is_empty());
    }

    #[test]
    fn backlog_is_limited_and_drains_in_stretches() {
        let mut backlog = Backlog::default();
        let frame = Frame::text("12345678");
        for _ in 0..MAILBOX {
            assert_eq!(backlog.push(&frame), Ok(()));
        }
        assert_eq!(backlog.push(&frame), Err(TooSlow));
        let mut out = Vec::new();
        assert_eq!((backlog.drain_into(&mut out, 25), out.len()), (3, 30));
        assert_eq!(backlog.drain_into(&mut out, usize::MAX), MAILBOX - 3);
        assert!(backlog.is_empty());
    }
}
