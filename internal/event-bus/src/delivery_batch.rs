//! The order in which a shard delivers what it drained from its queue: client by client, so that
//! several events for one client leave in one write. Pure code.

use std::collections::VecDeque;

use crate::{
    BusEvent, ConnectionSlot, Delivery, DisconnectReason, DrainedQueue, EncodingId,
    MAX_MAILBOX_EVENTS,
};
use latido_protocol::Frame;

/// The maximum number of recipients that are sorted together, which takes about 1 ms. A single
/// event with more recipients needs no sorting.
const MAX_SORTED: usize = 16_384;

/// A function that encodes an event for clients with the same encoding. It returns `None` if all of
/// them are gone.
pub type EncodeFn<'a> = dyn Fn(&BusEvent, EncodingId, &[ConnectionSlot]) -> Option<Frame> + 'a;

/// One delivery for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientDelivery<'a> {
    /// Send this frame to the client.
    Frame(&'a Frame),
    /// Close the client's connection.
    Disconnect(DisconnectReason),
}

#[derive(Debug)]
enum EncodedPiece {
    Frame(Frame),
    Disconnect(DisconnectReason),
}

/// The deliveries that a shard has drained but not finished. While any remain, the shard drains no
/// more; this holds publishers back.
#[derive(Debug, Default)]
pub struct DeliveryBatch {
    pending: VecDeque<Delivery>,
    /// The encoded deliveries, each encoded only once.
    pieces: Vec<EncodedPiece>,
    /// The client and the index of its piece, sorted by client and then by delivery order.
    deliveries: Vec<(ConnectionSlot, u32)>,
    /// The number of finished entries in `deliveries`.
    finished: usize,
}

impl DeliveryBatch {
    /// Adds drained deliveries. The shard handles an overrun itself: it disconnects every client of
    /// that queue and drops the batch.
    pub fn extend(&mut self, drained: DrainedQueue) {
        self.pending.extend(drained.deliveries);
    }

    /// Returns `true` if all deliveries are finished.
    pub fn is_empty(&self) -> bool {
        self.finished == self.deliveries.len() && self.pending.is_empty()
    }

    /// Returns the next client with all its deliveries of the current stretch, in order. Calls
    /// `encode` for an event that has no frame for the recipients' encoding yet.
    pub fn next_client<'a>(
        &'a mut self,
        encode: &EncodeFn<'_>,
    ) -> Option<(
        ConnectionSlot,
        impl Iterator<Item = ClientDelivery<'a>> + use<'a>,
    )> {
        while self.finished == self.deliveries.len() && !self.pending.is_empty() {
            self.load_next(encode);
        }
        let (to, _) = *self.deliveries.get(self.finished)?;
        let rest = &self.deliveries[self.finished..];
        let count = rest
            .iter()
            .take_while(|(address, _)| *address == to)
            .count();
        self.finished += count;
        let pieces = &self.pieces;
        let deliveries = rest[..count]
            .iter()
            .filter_map(|(_, piece)| pieces.get(*piece as usize));
        Some((to, deliveries.map(EncodedPiece::as_delivery)))
    }

    /// Expands the next deliveries into one entry per recipient.
    fn load_next(&mut self, encode: &EncodeFn<'_>) {
        self.pieces.clear();
        self.deliveries.clear();
        self.finished = 0;
        while let Some(delivery) = self.pending.front() {
            let to = delivery.recipients();
            if !self.deliveries.is_empty() && self.deliveries.len() + to.len() > MAX_SORTED {
                break;
            }
            let index = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
            let piece = match delivery {
                Delivery::Event {
                    event, encoding, ..
                } => event
                    .try_encoded_frame(*encoding, |event| encode(event, *encoding, to))
                    .map(EncodedPiece::Frame),
                Delivery::Reply { frame, .. } => Some(EncodedPiece::Frame(frame.clone())),
                Delivery::Disconnect { reason: end, .. } => Some(EncodedPiece::Disconnect(*end)),
            };
            if let Some(piece) = piece {
                self.deliveries.extend(to.iter().map(|to| (*to, index)));
                self.pieces.push(piece);
            }
            self.pending.pop_front();
        }
        if self.pieces.len() > 1 {
            self.deliveries.sort_unstable();
        }
    }
}

impl EncodedPiece {
    fn as_delivery(&self) -> ClientDelivery<'_> {
        match self {
            Self::Frame(frame) => ClientDelivery::Frame(frame),
            Self::Disconnect(end) => ClientDelivery::Disconnect(*end),
        }
    }
}

/// The error for a client with more than [`MAX_MAILBOX_EVENTS`] pending events. It must be
/// disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowConsumer;

/// The events for a client whose socket is full. It holds shared frames, not copies.
#[derive(Debug, Default)]
pub struct EventBacklog {
    frames: VecDeque<Frame>,
}

impl EventBacklog {
    /// Adds a frame at the end of the queue.
    ///
    /// # Errors
    /// Returns an error if the client already has [`MAX_MAILBOX_EVENTS`] pending frames.
    pub fn push(&mut self, frame: &Frame) -> Result<(), SlowConsumer> {
        if self.frames.len() == MAX_MAILBOX_EVENTS {
            return Err(SlowConsumer);
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
    use crate::EventBody;

    /// The slot of a client that has disconnected.
    const GONE: u32 = 13;

    fn address(slot: u32) -> ConnectionSlot {
        ConnectionSlot {
            index: slot,
            generation: 0,
        }
    }

    fn event(seq: u64, encoding: u16, to: &[u32]) -> Delivery {
        let event = Arc::new(BusEvent::new(
            seq,
            0,
            Box::default(),
            EventBody::PresenceList(Vec::new()),
        ));
        Delivery::Event {
            event,
            encoding: EncodingId(encoding),
            to: to.iter().map(|slot| address(*slot)).collect(),
        }
    }

    fn deliver_all(batch: &mut DeliveryBatch) -> Vec<(u32, Vec<String>)> {
        let mut all = Vec::new();
        let encode = |event: &BusEvent, _: EncodingId, to: &[ConnectionSlot]| {
            (to[0].index != GONE).then(|| Frame::text(&event.seq.to_string()))
        };
        while let Some((to, deliveries)) = batch.next_client(&encode) {
            let text = |delivery| match delivery {
                ClientDelivery::Frame(frame) => frame.payload().to_owned(),
                ClientDelivery::Disconnect(_) => "end".to_owned(),
            };
            all.push((to.index, deliveries.map(text).collect()));
        }
        all
    }

    #[test]
    fn deliveries_are_grouped_by_client_and_in_order() {
        let mut batch = DeliveryBatch::default();
        let end = Delivery::Disconnect {
            to: address(7),
            reason: DisconnectReason::Kicked("test"),
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
        batch.extend(DrainedQueue {
            deliveries,
            is_overrun: false,
        });
        assert!(!batch.is_empty());
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            deliver_all(&mut batch),
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
        let mut batch = DeliveryBatch::default();
        let slots: Vec<_> = (0..10_000).rev().collect();
        batch.extend(DrainedQueue {
            deliveries: (1..=4).map(|seq| event(seq, 0, &slots)).collect(),
            is_overrun: false,
        });
        let all = deliver_all(&mut batch);
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
        let mut batch = DeliveryBatch::default();
        batch.extend(DrainedQueue {
            deliveries: vec![
                event(1, 0, &[GONE]),
                event(2, 0, &[GONE]),
                event(3, 0, &[1]),
            ],
            is_overrun: false,
        });
        assert_eq!(deliver_all(&mut batch), [(1, vec!["3".to_owned()])]);
        batch.extend(DrainedQueue {
            deliveries: vec![event(4, 0, &[GONE])],
            is_overrun: false,
        });
        assert!(deliver_all(&mut batch).is_empty() && batch.is_empty());
    }

    #[test]
    fn backlog_is_limited_and_drains_in_stretches() {
        let mut backlog = EventBacklog::default();
        let frame = Frame::text("12345678");
        for _ in 0..MAX_MAILBOX_EVENTS {
            assert_eq!(backlog.push(&frame), Ok(()));
        }
        assert_eq!(backlog.push(&frame), Err(SlowConsumer));
        let mut out = Vec::new();
        assert_eq!((backlog.drain_into(&mut out, 25), out.len()), (3, 30));
        assert_eq!(
            backlog.drain_into(&mut out, usize::MAX),
            MAX_MAILBOX_EVENTS - 3
        );
        assert!(backlog.is_empty());
    }
}
