//! The admin requests to the shards: list the clients, close one, run the timers of all of them.
//!
//! No state is kept for this. A shard examines a bounded number of its clients per turn, and
//! returns the slot from which to continue. The peer address is read from the kernel, only for the
//! clients that need it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::client::{Client, Life};
use crate::inbox::Command;
use crate::worker::Worker;
use crate::{Handle, Shards};
use latido_base::ident::UserId;
use latido_session::{CloseReason, Session};

/// The admin requests that may be in progress at a time, over all administrators.
pub(super) const WISHES: usize = 8;
/// The slots that a shard examines for one admin request before its sockets are served.
const SLOTS_A_TURN: u32 = 2048;
/// The prefix of the channels about the server itself. A filter text is part of such a channel's
/// name, so they are skipped; otherwise a filter would find its own viewer.
const OWN: &str = "latido:";
/// The number of channels listed per client.
const CHANNELS_NAMED: usize = 5;

/// The identity of a connection; it is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    shard: u32,
    slot: u32,
    generation: u32,
}

/// The error for a text that is not a valid [`ClientId`].
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

/// The administrator's view of one connection. Times are Unix seconds by the server's clock,
/// accurate to a second.
#[derive(Debug, Clone)]
pub struct ClientView {
    /// The identity, by which the connection can be closed.
    pub id: ClientId,
    /// The user, or `None` if the connection is not authenticated.
    pub user: Option<UserId>,
    /// The protocol: `native`, or the name of the app.
    pub dialect: &'static str,
    /// The role in the token.
    pub role: Option<Box<str>>,
    /// The address of the TCP peer (the last proxy, if there is one), or `None` if the connection
    /// has just ended.
    pub address: Option<SocketAddr>,
    /// The time at which the connection was established.
    pub since_s: i64,
    /// The time of the last byte from the client.
    pub heard_s: i64,
    /// The time since which its socket has been full.
    pub behind_since_s: Option<i64>,
    /// The expiry of its token, if it has one.
    pub expires_at_s: Option<i64>,
    /// The first few of its channels.
    pub channels: Vec<Arc<str>>,
    /// The total number of its channels.
    pub channel_count: usize,
}

/// The clients that match an admin's filter.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    /// The matching clients, at most the requested number.
    pub clients: Vec<ClientView>,
    /// Set if there may be further matches.
    pub has_more: bool,
}

/// The result of running the timers of every client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// The number of clients examined.
    pub looked_at: usize,
    /// The number of clients closed by it.
    pub closed: usize,
}

/// A part of a result, with the slot from which to continue, or `None` at the end.
type Part<T> = (T, Option<u32>);

/// A request from an administrator. Its sender may be gone when the response is ready.
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
    /// Lists at most `most` clients whose user, role, address or channel contains `matching`, which
    /// must be in lower case. An empty text matches all.
    pub async fn roster(&self, matching: &str, most: usize) -> Roster {
        let matching: Arc<str> = matching.into();
        let mut list = Roster::default();
        let _permit = self.operators.acquire().await;
        for (number, shard) in (0..).zip(&self.shards) {
            let mut from = Some(0);
            while let Some(slot) = from {
                let missing = most - list.clients.len();
                if missing == 0 {
                    list.has_more = true;
                    return list;
                }
                let matching = Arc::clone(&matching);
                let request = |response| Wish::List {
                    matching,
                    from: slot,
                    most: missing,
                    answer: response,
                };
                let (clients, next) = shard.ask(request).await.unwrap_or_default();
                list.clients
                    .extend(clients.into_iter().map(|client| client.of_shard(number)));
                from = next;
            }
        }
        list
    }

    /// Closes a connection. Returns its user (empty if it was not authenticated), or `None` if the
    /// connection has ended already.
    pub async fn dismiss(&self, id: ClientId, reason: CloseReason) -> Option<UserId> {
        let shard = self.shards.get(usize::try_from(id.shard).ok()?)?;
        let _permit = self.operators.acquire().await;
        shard
            .ask(|response| Wish::Close {
                slot: id.slot,
                generation: id.generation,
                reason,
                answer: response,
            })
            .await?
    }

    /// Runs the timers of every client now: silent and slow clients are closed if they are due.
    pub async fn sweep(&self) -> Swept {
        let mut total = Swept::default();
        let _permit = self.operators.acquire().await;
        for shard in &self.shards {
            let mut from = Some(0);
            while let Some(slot) = from {
                let (part, next) = shard
                    .ask(|response| Wish::Sweep {
                        from: slot,
                        answer: response,
                    })
                    .await
                    .unwrap_or_default();
                total.looked_at += part.looked_at;
                total.closed += part.closed;
                from = next;
            }
        }
        total
    }
}

impl Handle {
    /// Sends an admin request to the shard. Returns `None` if the shard has ended.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Wish) -> Option<T> {
        let (sender, response) = oneshot::channel();
        self.inbox.put(Command::Operator(Box::new(request(sender))));
        response.await.ok()
    }
}

impl ClientView {
    fn of_shard(mut self, number: u32) -> Self {
        self.id.shard = number;
        self
    }
}

impl Worker {
    /// Handles a request from an administrator.
    pub(super) fn grant(&mut self, request: Wish) {
        match request {
            Wish::List {
                matching,
                from,
                most: limit,
                answer: response,
            } => drop(response.send(self.list(&matching, from, limit))),
            Wish::Close {
                slot,
                generation,
                reason,
                answer: response,
            } => drop(response.send(self.dismiss(slot, generation, reason))),
            Wish::Sweep {
                from,
                answer: response,
            } => drop(response.send(self.sweep(from))),
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

    /// Returns the end of a turn that begins at this slot, and the start of the next one.
    fn turn_from(&self, from: u32) -> Part<u32> {
        let all = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        let end = from.saturating_add(SLOTS_A_TURN).min(all);
        (end, (end < all).then_some(end))
    }

    fn matches(&self, slot: u32, client: &Client, matching: &str) -> bool {
        let contains = |text: &str| text.to_lowercase().contains(matching);
        let principal = client.conversation().map(Session::principal);
        // Reading an address is a system call, so it is skipped for texts that cannot be one.
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
        let principal = client.conversation().map(Session::principal);
        let unix_s = self.parts.clock.unix_s();
        let at = |second: u32| unix_s - i64::from(self.now_s.saturating_sub(second));
        ClientView {
            // The shard's number is filled in by the code that sent the request.
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
        let mut total = Swept::default();
        let (end, last) = self.turn_from(from);
        for slot in from..end {
            self.with_client(slot, |worker, client| {
                let was_open = client.life == Life::Open;
                worker.on_deadline(slot, client);
                total.looked_at += 1;
                total.closed += usize::from(was_open && client.life != Life::Open);
            });
        }
        (total, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_round_trip_as_text() {
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
