//! Guests on their shard: what they hear, what they want done, and the events of their exchanges.

use std::sync::Arc;

use crate::auth::Principal;
use crate::clock::instant;
use crate::hub::exchange::{Address, Backlog, Batch, End, Event, Port, TooSlow, Work};
use crate::ident::UserId;
use crate::protocol::Frame;
use crate::session::{Bucket, CloseReason, Conversation, Limits, Verdict};
use crate::shard::client::{Client, Life, Voice};
use crate::shard::desk::{Asked, Question};
use crate::shard::guest::{
    Act, Acts, Answered, Asking, Berth, Boarding, Guest, Heard, Interpreter, Now,
};
use crate::shard::inbox;
use crate::shard::worker::Worker;
use crate::websocket::{Message, close_frame, pong_frame};

/// Clients that get their events in one turn, of all exchanges together: half a millisecond or so.
pub(super) const CLIENTS_A_TURN: usize = 256;
/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 64 * 1024;
/// Bytes of what waits for a client that still leave before a close frame.
const LAST_BYTES: usize = 256 * 1024;

/// One exchange's way to the guests of this shard.
pub(super) struct Lane {
    tenant: &'static str,
    port: Port,
    /// Taken and not yet done. The next is taken when this is empty.
    batch: Batch,
}

/// What a guest has that other clients have not.
pub(super) struct Visitor {
    pub(super) tenant: &'static str,
    lane: usize,
    /// None once it is closing: then nothing of it is left in its exchange.
    pub(super) guest: Option<Box<dyn Guest>>,
    /// Who it was, once the guest is gone.
    user: Option<UserId>,
    /// Some while it speaks the native dialect as well.
    pub(super) native: Option<Conversation>,
    pub(super) limits: Limits,
    bucket: Bucket,
    /// Behind the outbox; empty while there is none.
    backlog: Backlog,
}

impl Visitor {
    pub(super) fn user(&self) -> Option<&UserId> {
        self.guest
            .as_ref()
            .map_or(self.user.as_ref(), |guest| guest.user())
    }

    /// The guest goes, and with it all that its exchange knows of it.
    fn depart(&mut self) {
        if let Some(guest) = self.guest.take() {
            self.user = guest.user().cloned();
        }
    }
}

impl Worker {
    /// Makes the guest of a client.
    pub(super) fn board(&mut self, boarding: Boarding, address: Address) -> Box<Visitor> {
        let limits = boarding.limits.unwrap_or(self.parts.context.limits);
        let lane = self.lane(boarding.tenant);
        let port = self.lanes[lane].port.clone();
        Box::new(Visitor {
            tenant: boarding.tenant,
            lane,
            guest: Some((boarding.make)(Berth { port, address })),
            user: None,
            native: boarding
                .principal
                .map(|principal| Conversation::new(principal, &limits, self.now_s)),
            limits,
            bucket: Bucket::new(&limits, self.now_s),
            backlog: Backlog::default(),
        })
    }

    /// The way of an exchange to this shard; there are as many as there are apps.
    fn lane(&mut self, tenant: &'static str) -> usize {
        self.lanes
            .iter()
            .position(|lane| lane.tenant == tenant)
            .unwrap_or_else(|| {
                let waker = Arc::clone(self.inbox.waker());
                let port = Port::new(move || inbox::wake(&waker));
                self.lanes.push(Lane {
                    tenant,
                    port,
                    batch: Batch::default(),
                });
                self.lanes.len() - 1
            })
    }

    /// The number of an interpreter here, from 1.
    pub(super) fn tongue(&mut self, interpreter: Arc<dyn Interpreter>) -> u8 {
        let known = self
            .tongues
            .iter()
            .position(|known| Arc::ptr_eq(known, &interpreter));
        let index = known.unwrap_or_else(|| {
            self.tongues.push(interpreter);
            self.tongues.len() - 1
        });
        u8::try_from(index + 1).unwrap_or_default()
    }

    /// A native client said what means nothing in its dialect: if it is an app's, the client becomes a guest, and goes on as both.
    pub(super) fn reinterpret(&mut self, slot: u32, client: &mut Client, text: &str) -> bool {
        let Some(interpreter) = usize::from(client.tongue)
            .checked_sub(1)
            .and_then(|index| self.tongues.get(index))
        else {
            return false;
        };
        let Voice::Native(conversation) = &client.voice else {
            return false;
        };
        if !interpreter.knows(text) {
            return false;
        }
        let boarding = interpreter.board(conversation.principal());
        let visitor = self.board(
            boarding,
            Address {
                slot,
                generation: client.generation,
            },
        );
        if let Voice::Native(conversation) =
            std::mem::replace(&mut client.voice, Voice::Guest(visitor))
            && let Voice::Guest(visitor) = &mut client.voice
        {
            visitor.native = Some(conversation);
        }
        self.tell(slot, client, |guest, now, acts| {
            guest.hear(Heard::Text(text), now, acts)
        });
        true
    }

    /// A message from a guest's client, other than a close.
    pub(super) fn on_guest_message(
        &mut self,
        slot: u32,
        client: &mut Client,
        message: Message<'_>,
    ) {
        let now_s = self.now_s;
        let Voice::Guest(visitor) = &mut client.voice else {
            return;
        };
        match visitor.bucket.take(&visitor.limits, now_s) {
            Verdict::Take => {}
            Verdict::Drop { first: true } => {
                return self.tell(slot, client, |guest, _, acts| guest.flooded(acts));
            }
            Verdict::Drop { first: false } => return,
            Verdict::End => return self.close(slot, client, CloseReason::TooMany),
        }
        match message {
            Message::Text(text) => self.tell(slot, client, |guest, now, acts| {
                guest.hear(Heard::Text(&text), now, acts)
            }),
            Message::Binary(bytes) => self.tell(slot, client, |guest, now, acts| {
                guest.hear(Heard::Binary(&bytes), now, acts)
            }),
            Message::Ping(payload) => self.push(slot, client, pong_frame(&payload)),
            Message::Pong | Message::Close { .. } => {}
        }
    }

    /// The answer to what a guest asked.
    pub(super) fn on_guest_answer(&mut self, slot: u32, client: &mut Client, answer: Answered) {
        self.tell(slot, client, |guest, now, acts| {
            guest.answered(answer, now, acts)
        });
    }

    /// Calls a guest, and does what it wants.
    pub(super) fn tell(
        &mut self,
        slot: u32,
        client: &mut Client,
        call: impl FnOnce(&mut dyn Guest, Now, &mut Acts<'_>),
    ) {
        let now = Now {
            unix_s: self.parts.clock.unix_s(),
        };
        let generation = client.generation;
        let Voice::Guest(visitor) = &mut client.voice else {
            return;
        };
        let Some(guest) = &mut visitor.guest else {
            return;
        };
        let (desk, inbox) = (&self.guests_desk, &self.inbox);
        let mut ask = |future: Asking| {
            let question = Question::Guest(future);
            desk.try_send(Asked {
                inbox: Arc::clone(inbox),
                slot,
                generation,
                since: instant(),
                question,
            })
            .is_ok()
        };
        let mut acts = Acts::new(&mut ask);
        call(guest.as_mut(), now, &mut acts);
        for act in acts.into_acts() {
            if client.life == Life::Open {
                self.perform(slot, client, act);
            }
        }
    }

    fn perform(&mut self, slot: u32, client: &mut Client, act: Act) {
        match act {
            Act::Send(frame) => self.give_or_end(slot, client, &frame),
            Act::Behind(frame) => {
                let Voice::Guest(visitor) = &client.voice else {
                    return;
                };
                let Some(lane) = self.lanes.get(visitor.lane) else {
                    return;
                };
                if lane.batch.is_empty() && lane.port.is_empty() {
                    return self.give_or_end(slot, client, &frame);
                }
                lane.port.reply(
                    Address {
                        slot,
                        generation: client.generation,
                    },
                    frame,
                );
            }
            Act::Close(code, reason) => {
                self.close_with(slot, client, CloseReason::App, &close_frame(code, reason))
            }
            Act::Enter(principal) => self.enter(slot, client, principal),
            Act::Native(text) => {
                let Some(conversation) = client.conversation_mut() else {
                    return;
                };
                let effect = conversation.on_text(&text, &self.parts.context);
                self.apply(slot, client, effect);
            }
        }
    }

    /// Gives a guest the native dialect, or another token for it.
    fn enter(&mut self, slot: u32, client: &mut Client, principal: Arc<Principal>) {
        let effects = match client.conversation_mut() {
            Some(held) if held.principal().user() == principal.user() => {
                held.succeeded_by(principal, &self.parts.context)
            }
            _ => {
                self.leave_rooms(client);
                let Voice::Guest(visitor) = &mut client.voice else {
                    return;
                };
                visitor.native = Some(Conversation::new(principal, &visitor.limits, self.now_s));
                Vec::new()
            }
        };
        for effect in effects {
            self.apply(slot, client, effect);
        }
    }

    /// Goes on with the events of every exchange, of at most so many clients together, and one of each that is busy.
    pub(super) fn take_events(&mut self, clients: usize) {
        if self.lanes.is_empty() {
            return;
        }
        let mut lanes = std::mem::take(&mut self.lanes);
        for (number, lane) in lanes.iter_mut().enumerate() {
            if lane.batch.is_empty() {
                let taken = lane.port.take();
                if taken.overrun {
                    self.end_lane(number, lane.tenant)
                } else {
                    lane.batch.put(taken)
                }
            }
        }
        let busy = lanes.iter().filter(|lane| !lane.batch.is_empty()).count();
        for lane in &mut lanes {
            for _ in 0..(clients / busy.max(1)).max(1) {
                let all = &self.clients;
                let Some((to, work)) = lane.batch.next(&|event, to| encode(all, event, to)) else {
                    break;
                };
                self.with_client(to.slot, |worker, client| {
                    if client.generation == to.generation && client.life == Life::Open {
                        worker.on_events(to.slot, client, work);
                    }
                });
            }
        }
        self.lanes = lanes;
    }

    /// Whether events wait for a turn. Those that came while a batch was under way have woken nobody: the shard was awake.
    pub(super) fn has_events(&self) -> bool {
        self.lanes
            .iter()
            .any(|lane| !lane.batch.is_empty() || !lane.port.is_empty())
    }

    /// This shard was so far behind that something was not kept for them: they can't be told the truth any more.
    fn end_lane(&mut self, number: usize, tenant: &'static str) {
        tracing::warn!(
            tenant,
            "a shard fell behind; its clients of this app are asked to come back"
        );
        for slot in 0..u32::try_from(self.clients.len()).unwrap_or(u32::MAX) {
            self.with_client(slot, |worker, client| {
                if matches!(&client.voice, Voice::Guest(visitor) if visitor.lane == number) {
                    worker.close(slot, client, CloseReason::TooSlow);
                }
            });
        }
    }

    fn on_events<'f>(
        &mut self,
        slot: u32,
        client: &mut Client,
        work: impl Iterator<Item = Work<'f>>,
    ) {
        let mut end = None;
        let frames = work.map_while(|work| match work {
            Work::Frame(frame) => Some(frame),
            Work::End(why) => {
                end = Some(why);
                None
            }
        });
        if self.give(slot, client, frames).is_err() {
            end = Some(End::TooSlow);
        }
        match end {
            Some(End::TooSlow) => self.close(slot, client, CloseReason::TooSlow),
            Some(End::Dismissed(why)) => {
                let Voice::Guest(visitor) = &client.voice else {
                    return;
                };
                let (code, text) = visitor
                    .guest
                    .as_ref()
                    .map_or((4403, why), |guest| guest.farewell(why));
                self.close_with(slot, client, CloseReason::App, &close_frame(code, text));
            }
            None => {}
        }
    }

    fn give_or_end(&mut self, slot: u32, client: &mut Client, frame: &Frame) {
        if self.give(slot, client, std::iter::once(frame)).is_err() {
            self.close(slot, client, CloseReason::TooSlow);
        }
    }

    /// Sends frames in order, in as few writes as may be; what the socket does not take waits in the backlog.
    fn give<'f>(
        &mut self,
        slot: u32,
        client: &mut Client,
        frames: impl Iterator<Item = &'f Frame>,
    ) -> Result<(), TooSlow> {
        let mut frames = frames.peekable();
        while let Some(frame) = frames.next() {
            if matches!(client.life, Life::Dead(_)) {
                return Ok(());
            }
            if client.outbox.is_some() {
                let Voice::Guest(visitor) = &mut client.voice else {
                    return Ok(());
                };
                visitor.backlog.push(frame)?;
                continue;
            }
            if frames.peek().is_none() || frame.as_bytes().len() >= WRITE_BYTES {
                self.push_frame(slot, client, frame);
                continue;
            }
            let mut bytes = std::mem::take(&mut self.scratch);
            bytes.extend_from_slice(frame.as_bytes());
            let mut count = 1;
            while bytes.len() < WRITE_BYTES
                && let Some(frame) = frames.next()
            {
                bytes.extend_from_slice(frame.as_bytes());
                count += 1;
            }
            self.push_bytes(slot, client, count, &bytes);
            bytes.clear();
            self.scratch = bytes;
        }
        Ok(())
    }

    /// The socket is empty again: sends what waits, as far as it goes.
    pub(super) fn relieve(&mut self, slot: u32, client: &mut Client) {
        let mut bytes = std::mem::take(&mut self.scratch);
        while client.outbox.is_none() && client.life == Life::Open {
            let Voice::Guest(visitor) = &mut client.voice else {
                break;
            };
            let count = visitor.backlog.drain_into(&mut bytes, WRITE_BYTES);
            if count == 0 {
                break;
            }
            self.push_bytes(slot, client, count as u64, &bytes);
            bytes.clear();
        }
        self.scratch = bytes;
    }

    /// The connection ends from our side: its exchange forgets it now, and what waits for it leaves before the close frame, unless it was
    /// that which was too much.
    pub(super) fn depart(&mut self, client: &mut Client, reason: CloseReason) {
        let Voice::Guest(visitor) = &mut client.voice else {
            return;
        };
        visitor.depart();
        let mut last = Vec::new();
        if reason != CloseReason::TooSlow {
            visitor.backlog.drain_into(&mut last, LAST_BYTES);
        }
        visitor.backlog = Backlog::default();
        if let Some(outbox) = &mut client.outbox {
            outbox.push(&last);
        }
    }
}

/// The frame of an event, as the first of its addressees writes it who is still there.
fn encode(clients: &[Option<Box<Client>>], event: &Event, to: &[Address]) -> Option<Frame> {
    to.iter().find_map(|to| {
        let client = clients.get(to.slot as usize)?.as_ref()?;
        let Voice::Guest(visitor) = &client.voice else {
            return None;
        };
        let guest = visitor
            .guest
            .as_ref()
            .filter(|_| client.generation == to.generation)?;
        Some(guest.encode(event))
    })
}
