//! How a shard works through what it took: client by client, so that several events for one client leave in one write. Pure.

use std::collections::VecDeque;

use crate::hub::exchange::{Address, Delivery, End, Event, MAILBOX, Taken};
use crate::protocol::Frame;

/// So many addressees are sorted together, at the most: 1 ms or so. A single event with more needs no sorting.
const SORTED: usize = 16_384;

/// Writes an event for these, who speak the same dialect. None: none of them is there any more.
pub type Encode<'a> = dyn Fn(&Event, &[Address]) -> Option<Frame> + 'a;

/// What is to be done for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work<'a> {
    /// Send it.
    Frame(&'a Frame),
    /// Close it.
    End(End),
}

#[derive(Debug)]
enum Piece {
    Frame(Frame),
    End(End),
}

/// What a shard has taken and not yet done. While it is not empty the shard takes no more, and that is what holds publishers back.
#[derive(Debug, Default)]
pub struct Batch {
    waiting: VecDeque<Delivery>,
    /// Encoded once each.
    pieces: Vec<Piece>,
    /// For whom, and which piece; sorted by client, and for each in order.
    work: Vec<(Address, u32)>,
    /// Work that is done.
    done: usize,
}

impl Batch {
    /// Adds what was taken. An overrun is the shard's to handle: it ends every client of that port, and drops the batch.
    pub fn put(&mut self, taken: Taken) {
        self.waiting.extend(taken.deliveries);
    }

    /// Whether everything is done.
    pub fn is_empty(&self) -> bool {
        self.done == self.work.len() && self.waiting.is_empty()
    }

    /// The next client, with all there is for it in this stretch, in order. `encode` is called for an event and its addressees when
    /// nobody has encoded it for their dialect yet.
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
        let work = rest[..count]
            .iter()
            .filter_map(|(_, piece)| pieces.get(*piece as usize));
        Some((to, work.map(Piece::work)))
    }

    /// Spreads the next deliveries out.
    fn load(&mut self, encode: &Encode<'_>) {
        self.pieces.clear();
        self.work.clear();
        self.done = 0;
        while let Some(delivery) = self.waiting.front() {
            let to = delivery.to();
            if !self.work.is_empty() && self.work.len() + to.len() > SORTED {
                break;
            }
            let number = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
            let piece = match delivery {
                Delivery::Event { event, dialect, .. } => event
                    .frame_if(*dialect, |event| encode(event, to))
                    .map(Piece::Frame),
                Delivery::Reply { frame, .. } => Some(Piece::Frame(frame.clone())),
                Delivery::End { end, .. } => Some(Piece::End(*end)),
            };
            if let Some(piece) = piece {
                self.work.extend(to.iter().map(|to| (*to, number)));
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

/// A client has more than [`MAILBOX`] events to get: end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow;

/// Events for a client whose socket is full. Shared frames, not bytes of its own.
#[derive(Debug, Default)]
pub struct Backlog {
    frames: VecDeque<Frame>,
}

impl Backlog {
    /// Adds a frame behind the others.
    pub fn push(&mut self, frame: &Frame) -> Result<(), TooSlow> {
        if self.frames.len() == MAILBOX {
            return Err(TooSlow);
        }
        self.frames.push_back(frame.clone());
        Ok(())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Moves frames to the end of `out`, to leave in one write: until `out` holds `bytes` or more, or none is left. Returns how many.
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
    use crate::hub::exchange::{Body, Dialect};

    /// The slot of a client that is there no more.
    const GONE: u32 = 13;

    fn address(slot: u32) -> Address {
        Address {
            slot,
            generation: 0,
        }
    }

    fn event(seq: u64, dialect: u16, to: &[u32]) -> Delivery {
        let event = Arc::new(Event::new(seq, 0, Box::default(), Body::State(Vec::new())));
        Delivery::Event {
            event,
            dialect: Dialect(dialect),
            to: to.iter().map(|slot| address(*slot)).collect(),
        }
    }

    fn all(batch: &mut Batch) -> Vec<(u32, Vec<String>)> {
        let mut all = Vec::new();
        let encode = |event: &Event, to: &[Address]| {
            (to[0].slot != GONE).then(|| Frame::text(&event.seq.to_string()))
        };
        while let Some((to, work)) = batch.next(&encode) {
            let text = |work| match work {
                Work::Frame(frame) => frame.payload().to_owned(),
                Work::End(_) => "end".to_owned(),
            };
            all.push((to.slot, work.map(text).collect()));
        }
        all
    }

    #[test]
    fn work_is_done_client_by_client_and_in_order() {
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
    fn a_long_stretch_is_cut_between_events() {
        let mut batch = Batch::default();
        let many: Vec<_> = (0..10_000).rev().collect();
        batch.put(Taken {
            deliveries: (1..=4).map(|seq| event(seq, 0, &many)).collect(),
            overrun: false,
        });
        let all = all(&mut batch);
        assert_eq!(
            all.len(),
            40_000,
            "each event by itself, for two would be more than are sorted"
        );
        for slot in [0, 5_000, 9_999] {
            let theirs: Vec<_> = all
                .iter()
                .filter(|(to, _)| *to == slot)
                .flat_map(|(_, texts)| texts)
                .collect();
            assert_eq!(theirs, ["1", "2", "3", "4"]);
        }
    }

    #[test]
    fn what_nobody_is_left_to_encode_is_passed_over() {
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
    fn a_backlog_has_its_limit_and_leaves_in_stretches() {
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
