//! The admin requests to the shards: list the clients, close one, run the timers of all of them.
//!
//! No state is kept for this. A shard examines a bounded number of its clients per turn, and
//! returns the slot from which to continue. The peer address is read from the kernel, only for the
//! clients that need it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::admin_request::{
    AdminRequest, ClientId, ClientList, ClientSummary, ResultPage, SweepResult,
};
use crate::client::{ConnectionState, ShardClient};
use crate::command::ShardCommand;
use crate::shards::{ShardHandle, Shards};
use crate::worker::ShardWorker;
use latido_base::ident::UserId;
use latido_session::{CloseReason, Session};

/// The slots that a shard examines for one admin request before its sockets are served.
const SLOTS_PER_TURN: u32 = 2048;

/// The prefix of the channels about the server itself. A filter text is part of such a channel's
/// name, so they are skipped; otherwise a filter would find its own viewer.
const SYSTEM_CHANNEL_PREFIX: &str = "latido:";

/// The number of channels listed per client.
const LISTED_CHANNELS: usize = 5;

impl Shards {
    /// Lists at most `most` clients whose user, role, address or channel contains `matching`, which
    /// must be in lower case. An empty text matches all.
    pub async fn list_clients(&self, matching: &str, most: usize) -> ClientList {
        let matching: Arc<str> = matching.into();
        let mut list = ClientList::default();
        let _permit = self.admin_permits.acquire().await;
        for (number, shard) in (0..).zip(&self.shards) {
            let mut from = Some(0);
            while let Some(slot) = from {
                let missing = most - list.clients.len();
                if missing == 0 {
                    list.has_more = true;
                    return list;
                }
                let matching = Arc::clone(&matching);
                let request = |response| AdminRequest::List {
                    matching,
                    from: slot,
                    limit: missing,
                    response,
                };
                let (clients, next) = shard.request(request).await.unwrap_or_default();
                list.clients
                    .extend(clients.into_iter().map(|client| client.with_shard(number)));
                from = next;
            }
        }
        list
    }

    /// Closes a connection. Returns its user (empty if it was not authenticated), or `None` if the
    /// connection has ended already.
    pub async fn close_client(&self, id: ClientId, reason: CloseReason) -> Option<UserId> {
        let shard = self.shards.get(usize::try_from(id.shard).ok()?)?;
        let _permit = self.admin_permits.acquire().await;
        shard
            .request(|response| AdminRequest::Close {
                slot: id.slot,
                generation: id.generation,
                reason,
                response,
            })
            .await?
    }

    /// Runs the timers of every client now: silent and slow clients are closed if they are due.
    pub async fn sweep(&self) -> SweepResult {
        let mut total = SweepResult::default();
        let _permit = self.admin_permits.acquire().await;
        for shard in &self.shards {
            let mut from = Some(0);
            while let Some(slot) = from {
                let (part, next) = shard
                    .request(|response| AdminRequest::Sweep {
                        from: slot,
                        response,
                    })
                    .await
                    .unwrap_or_default();
                total.examined += part.examined;
                total.closed += part.closed;
                from = next;
            }
        }
        total
    }
}

impl ShardHandle {
    /// Sends an admin request to the shard. Returns `None` if the shard has ended.
    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> AdminRequest,
    ) -> Option<T> {
        let (sender, response) = oneshot::channel();
        self.inbox
            .put(ShardCommand::Admin(Box::new(request(sender))));
        response.await.ok()
    }
}

impl ClientSummary {
    fn with_shard(mut self, number: u32) -> Self {
        self.id.shard = number;
        self
    }
}

impl ShardWorker {
    /// Handles a request from an administrator.
    pub(super) fn handle_admin(&mut self, request: AdminRequest) {
        match request {
            AdminRequest::List {
                matching,
                from,
                limit,
                response,
            } => drop(response.send(self.list_clients(&matching, from, limit))),
            AdminRequest::Close {
                slot,
                generation,
                reason,
                response,
            } => drop(response.send(self.close_client(slot, generation, reason))),
            AdminRequest::Sweep { from, response } => drop(response.send(self.sweep(from))),
        }
    }

    fn list_clients(
        &self,
        matching: &str,
        from: u32,
        most: usize,
    ) -> ResultPage<Vec<ClientSummary>> {
        let mut found = Vec::new();
        let (end, last) = self.turn_range(from);
        for slot in from..end {
            if found.len() == most {
                return (found, Some(slot));
            }
            let Some(client) = self
                .connections
                .clients
                .get(slot as usize)
                .and_then(Option::as_ref)
            else {
                continue;
            };
            if client.state == ConnectionState::Open && self.matches(slot, client, matching) {
                found.push(self.summarize(slot, client));
            }
        }
        (found, last)
    }

    /// Returns the end of a turn that begins at this slot, and the start of the next one.
    fn turn_range(&self, from: u32) -> ResultPage<u32> {
        let all = u32::try_from(self.connections.clients.len()).unwrap_or(u32::MAX);
        let end = from.saturating_add(SLOTS_PER_TURN).min(all);
        (end, (end < all).then_some(end))
    }

    fn matches(&self, slot: u32, client: &ShardClient, matching: &str) -> bool {
        let contains = |text: &str| text.to_lowercase().contains(matching);
        let principal = client.session().map(Session::principal);
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
                .any(|name| !name.starts_with(SYSTEM_CHANNEL_PREFIX) && contains(name))
            || (may_be_address()
                && self
                    .address(slot)
                    .is_some_and(|address| address.to_string().contains(matching)))
    }

    fn address(&self, slot: u32) -> Option<SocketAddr> {
        let address = self
            .connections
            .sockets
            .get(slot as usize)?
            .as_ref()?
            .peer_addr()
            .ok()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    fn summarize(&self, slot: u32, client: &ShardClient) -> ClientSummary {
        let principal = client.session().map(Session::principal);
        let unix_s = self.deps.clock.unix_s();
        let at = |second: u32| unix_s - i64::from(self.clock.now_s.saturating_sub(second));
        ClientSummary {
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
            connected_at_s: at(client.connected_s),
            last_received_s: at(client.last_received_s),
            full_since_s: client.outbox.as_ref().map(|outbox| at(outbox.progress_s)),
            expires_at_s: principal.map(|principal| principal.expires_at_s()),
            channel_count: client.channels().count(),
            channels: client.channels().take(LISTED_CHANNELS).cloned().collect(),
        }
    }

    fn close_client(&mut self, slot: u32, generation: u32, reason: CloseReason) -> Option<UserId> {
        let mut user = None;
        self.with_client(slot, |worker, client| {
            if client.generation == generation && client.state == ConnectionState::Open {
                user = Some(client.user().cloned().unwrap_or_else(|| UserId::new("")));
                worker.close(slot, client, reason);
            }
        });
        user
    }

    fn sweep(&mut self, from: u32) -> ResultPage<SweepResult> {
        let mut total = SweepResult::default();
        let (end, last) = self.turn_range(from);
        for slot in from..end {
            self.with_client(slot, |worker, client| {
                let was_open = client.state == ConnectionState::Open;
                worker.on_timer(slot, client);
                total.examined += 1;
                total.closed += usize::from(was_open && client.state != ConnectionState::Open);
            });
        }
        (total, last)
    }
}
