//! What operators want of the shards: to see their clients, to end one, to look at all of them now.
//!
//! Nothing is kept for it: a shard is asked, looks at a bounded number of its clients in a turn, and says where to go on. Where a client
//! calls from is asked of the kernel, for those that are shown.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::ident::UserId;
use crate::session::{CloseReason, Conversation};
use crate::shard::client::{Client, Life};
use crate::shard::inbox::Command;
use crate::shard::worker::Worker;
use crate::shard::{Handle, Shards};

/// Wishes that may be under way at a time, of all operators.
pub(super) const WISHES: usize = 8;
/// Slots that a shard looks at for a wish before its sockets have their turn.
const SLOTS_A_TURN: u32 = 2048;
/// Channels that are about the server: the filter itself stands in the name of one, and must not find who asks.
const OWN: &str = "latido:";
/// Channels named of one client.
const CHANNELS_NAMED: usize = 5;

/// Which connection; none is ever meant twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    shard: u32,
    slot: u32,
    generation: u32,
}

/// The text is no [`ClientId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a client's id such as 0-17-3")]
pub struct InvalidClientId;

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.slot, self.generation)
    }
}

impl FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(text: &str) -> Result<Self, InvalidClientId> {
        let mut numbers = text
            .split('-')
            .map(|part| part.parse().map_err(|_| InvalidClientId));
        let mut next = || numbers.next().unwrap_or(Err(InvalidClientId));
        let id = Self {
            shard: next()?,
            slot: next()?,
            generation: next()?,
        };
        if numbers.next().is_some() {
            Err(InvalidClientId)
        } else {
            Ok(id)
        }
    }
}

/// What is seen of a connection. Times are Unix seconds by the server's clock, good to a second.
#[derive(Debug, Clone)]
pub struct ClientView {
    /// To close it by.
    pub id: ClientId,
    /// Who; None: nobody has identified there yet.
    pub user: Option<UserId>,
    /// What it speaks.
    pub dialect: &'static str,
    /// The token's role.
    pub role: Option<Box<str>>,
    /// Where it calls from: the last proxy, if there is one. None: it has just gone.
    pub address: Option<SocketAddr>,
    /// Since when it is there.
    pub since_s: i64,
    /// When its last byte came.
    pub heard_s: i64,
    /// Since when its socket is full.
    pub behind_since_s: Option<i64>,
    /// When its token ends, if it has one.
    pub expires_at_s: Option<i64>,
    /// Some of its channels.
    pub channels: Vec<Arc<str>>,
    /// How many it has.
    pub channel_count: usize,
}

/// Clients that were asked for.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    /// At most as many as were asked for.
    pub clients: Vec<ClientView>,
    /// Whether there may be more that match.
    pub has_more: bool,
}

/// What a look at every client brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Clients that were looked at.
    pub looked_at: usize,
    /// Of those, closed because of it.
    pub closed: usize,
}

/// Part of a list, and the slot to go on from; none: that was all.
type Part<T> = (T, Option<u32>);

/// What a shard is asked. Whoever asks may have gone when the answer comes.
pub(super) enum Wish {
    List {
        matching: Arc<str>,
        from: u32,
        most: usize,
        answer: oneshot::Sender<Part<Vec<ClientView>>>,
    },
    Close {
        slot: u32,
        generation: u32,
        reason: CloseReason,
        answer: oneshot::Sender<Option<UserId>>,
    },
    Sweep {
        from: u32,
        answer: oneshot::Sender<Part<Swept>>,
    },
}

impl Shards {
    /// At most so many clients whose user, role, address or channel contains `matching`, which is in lower case; all if it is empty.
    pub async fn roster(&self, matching: &str, most: usize) -> Roster {
        let matching: Arc<str> = matching.into();
        let mut roster = Roster::default();
        let _place = self.operators.acquire().await;
        for (number, shard) in (0..).zip(&self.shards) {
            let mut from = Some(0);
            while let Some(slot) = from {
                let missing = most - roster.clients.len();
                if missing == 0 {
                    roster.has_more = true;
                    return roster;
                }
                let matching = Arc::clone(&matching);
                let wish = |answer| Wish::List {
                    matching,
                    from: slot,
                    most: missing,
                    answer,
                };
                let (clients, next) = shard.ask(wish).await.unwrap_or_default();
                roster
                    .clients
                    .extend(clients.into_iter().map(|client| client.of_shard(number)));
                from = next;
            }
        }
        roster
    }

    /// Ends a connection; whose it was, empty where nobody had identified, unless it has gone already.
    pub async fn dismiss(&self, id: ClientId, reason: CloseReason) -> Option<UserId> {
        let shard = self.shards.get(usize::try_from(id.shard).ok()?)?;
        let _place = self.operators.acquire().await;
        shard
            .ask(|answer| Wish::Close {
                slot: id.slot,
                generation: id.generation,
                reason,
                answer,
            })
            .await?
    }

    /// Looks at every client as the timer wheel would in its time: the silent and the slow are closed now if they are due.
    pub async fn sweep(&self) -> Swept {
        let mut swept = Swept::default();
        let _place = self.operators.acquire().await;
        for shard in &self.shards {
            let mut from = Some(0);
            while let Some(slot) = from {
                let (part, next) = shard
                    .ask(|answer| Wish::Sweep { from: slot, answer })
                    .await
                    .unwrap_or_default();
                swept.looked_at += part.looked_at;
                swept.closed += part.closed;
                from = next;
            }
        }
        swept
    }
}

impl Handle {
    /// None: the shard has ended.
    async fn ask<T>(&self, wish: impl FnOnce(oneshot::Sender<T>) -> Wish) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.inbox.put(Command::Operator(Box::new(wish(answer))));
        answered.await.ok()
    }
}

impl ClientView {
    fn of_shard(mut self, number: u32) -> Self {
        self.id.shard = number;
        self
    }
}

impl Worker {
    /// Does what an operator wants.
    pub(super) fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::List {
                matching,
                from,
                most,
                answer,
            } => drop(answer.send(self.list(&matching, from, most))),
            Wish::Close {
                slot,
                generation,
                reason,
                answer,
            } => drop(answer.send(self.dismiss(slot, generation, reason))),
            Wish::Sweep { from, answer } => drop(answer.send(self.sweep(from))),
        }
    }

    fn list(&self, matching: &str, from: u32, most: usize) -> Part<Vec<ClientView>> {
        let mut found = Vec::new();
        let (end, last) = self.turn_from(from);
        for slot in from..end {
            if found.len() == most {
                return (found, Some(slot));
            }
            let Some(client) = self.clients.get(slot as usize).and_then(Option::as_ref) else {
                continue;
            };
            if client.life == Life::Open && self.matches(slot, client, matching) {
                found.push(self.view(slot, client));
            }
        }
        (found, last)
    }

    /// Where a turn that begins at this slot ends, and where the next begins.
    fn turn_from(&self, from: u32) -> Part<u32> {
        let all = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        let end = from.saturating_add(SLOTS_A_TURN).min(all);
        (end, (end < all).then_some(end))
    }

    fn matches(&self, slot: u32, client: &Client, matching: &str) -> bool {
        let contains = |text: &str| text.to_lowercase().contains(matching);
        let principal = client.conversation().map(Conversation::principal);
        // To ask the kernel for an address is a system call.
        let may_be_address = || {
            matching
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b".:[]".contains(&b))
        };
        matching.is_empty()
            || client.user().is_some_and(|user| contains(user.as_str()))
            || principal
                .and_then(|principal| principal.role())
                .is_some_and(contains)
            || client
                .channels()
                .any(|name| !name.starts_with(OWN) && contains(name))
            || (may_be_address()
                && self
                    .address(slot)
                    .is_some_and(|address| address.to_string().contains(matching)))
    }

    fn address(&self, slot: u32) -> Option<SocketAddr> {
        let address = self
            .sockets
            .get(slot as usize)?
            .as_ref()?
            .peer_addr()
            .ok()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    fn view(&self, slot: u32, client: &Client) -> ClientView {
        let principal = client.conversation().map(Conversation::principal);
        let unix_s = self.parts.clock.unix_s();
        let at = |second: u32| unix_s - i64::from(self.now_s.saturating_sub(second));
        ClientView {
            // The number of its shard is filled in by who asked.
            id: ClientId {
                shard: 0,
                slot,
                generation: client.generation,
            },
            user: client.user().cloned(),
            dialect: client.dialect(),
            role: principal
                .and_then(|principal| principal.role())
                .map(Into::into),
            address: self.address(slot),
            since_s: at(client.since_s),
            heard_s: at(client.heard_s),
            behind_since_s: client.outbox.as_ref().map(|outbox| at(outbox.since_s)),
            expires_at_s: principal.map(|principal| principal.expires_at_s()),
            channel_count: client.channels().count(),
            channels: client.channels().take(CHANNELS_NAMED).cloned().collect(),
        }
    }

    fn dismiss(&mut self, slot: u32, generation: u32, reason: CloseReason) -> Option<UserId> {
        let mut user = None;
        self.with_client(slot, |worker, client| {
            if client.generation == generation && client.life == Life::Open {
                user = Some(client.user().cloned().unwrap_or_else(|| UserId::new("")));
                worker.close(slot, client, reason);
            }
        });
        user
    }

    fn sweep(&mut self, from: u32) -> Part<Swept> {
        let mut swept = Swept::default();
        let (end, last) = self.turn_from(from);
        for slot in from..end {
            self.with_client(slot, |worker, client| {
                let was_open = client.life == Life::Open;
                worker.on_deadline(slot, client);
                swept.looked_at += 1;
                swept.closed += usize::from(was_open && client.life != Life::Open);
            });
        }
        (swept, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_as_text() {
        let id = ClientId {
            shard: 0,
            slot: 17,
            generation: 3,
        };
        assert_eq!(
            (id.to_string().as_str(), "0-17-3".parse()),
            ("0-17-3", Ok(id))
        );
        for text in ["", "0-17", "0-17-3-4", "a-1-1", "0--3", "0-17-4294967296"] {
            assert_eq!(text.parse::<ClientId>(), Err(InvalidClientId), "{text}");
        }
    }
}
