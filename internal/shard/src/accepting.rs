//! Accepting connections: a shard's part in the turns at a listener.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::Token;

use crate::accept_backoff::{AcceptBackoff, is_peer_error};
use crate::command::ShardCommand;
use crate::listener_registration::ListenerRegistration;
use crate::shared_listener::SharedListener;
use crate::worker::ShardWorker;
use latido_base::clock::monotonic_now;

/// The connections that a shard accepts before its clients are served, and before the next shard
/// takes over.
const ACCEPT_BATCH: usize = 16;

impl ShardWorker {
    /// Registers this shard at a listener for its turn.
    pub(super) fn register_listener(&mut self, listener: Arc<SharedListener<ShardCommand>>) {
        match listener.register(self.poll.registry()) {
            Ok(true) => {
                self.listeners.registered.push(ListenerRegistration {
                    listener,
                    is_ready: false,
                    accepted: 0,
                    backoff: AcceptBackoff::default(),
                    retry_at: None,
                });
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "a listening socket could not be polled; the server stops");
                self.deps.drain.stop();
            }
        }
    }

    /// Notes that a connection waits at the listener with this token.
    pub(super) fn on_listener_ready(&mut self, token: Token) {
        if let Some(registration) = self
            .listeners
            .registered
            .iter_mut()
            .find(|registration| registration.listener.token == token)
        {
            // During a pause nothing is accepted; its end sets the flag.
            registration.is_ready = registration.retry_at.is_none();
        }
    }

    /// Accepts connections at all listeners of this shard, a bounded number at each.
    pub(super) fn accept_connections(&mut self) {
        let mut listeners = std::mem::take(&mut self.listeners.registered);
        // Drops closed listeners, and those whose turn went to another shard.
        listeners.retain_mut(|registration| self.accept_batch(registration));
        self.listeners.registered = listeners;
    }

    /// Accepts the connections of one listener, up to the end of the turn. Returns whether the
    /// shard stays registered there.
    fn accept_batch(&mut self, registration: &mut ListenerRegistration) -> bool {
        if registration
            .retry_at
            .is_some_and(|until| monotonic_now() >= until)
        {
            (registration.is_ready, registration.retry_at) = (true, None);
        }
        for _ in 0..ACCEPT_BATCH {
            if !registration.is_ready || registration.accepted == ACCEPT_BATCH {
                break;
            }
            let Some((accepted, context)) = registration.listener.accept() else {
                return false;
            };
            match accepted {
                Ok((socket, address)) => {
                    registration.backoff.reset();
                    registration.accepted += 1;
                    if let Some(connection) = context.acceptor.accept(socket.into(), address) {
                        self.add_pending(connection, context);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    registration.is_ready = false
                }
                Err(error) if is_peer_error(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                // Closing the sockets in the close queue may free the missing descriptors.
                Err(_) if self.close_all() => {}
                Err(error) => {
                    let open = self.deps.metrics.connections.get();
                    let pause = registration
                        .backoff
                        .next_pause(&error, usize::try_from(open).unwrap_or(0));
                    (registration.is_ready, registration.retry_at) =
                        (false, Some(monotonic_now() + pause));
                }
            }
        }
        if registration.accepted < ACCEPT_BATCH {
            return true;
        }
        registration.accepted = 0;
        if registration.listener.inboxes.len() == 1
            || registration
                .listener
                .deregister(self.poll.registry())
                .is_err()
        {
            return true;
        }
        registration.listener.pass_accept_turn();
        false
    }

    /// Returns the time until the next accept, or `None` if no listener needs one.
    pub(super) fn next_accept_in(&self) -> Option<Duration> {
        let next = |registration: &ListenerRegistration| match registration.retry_at {
            Some(until) => Some(until.saturating_duration_since(monotonic_now())),
            None => registration.is_ready.then_some(Duration::ZERO),
        };
        self.listeners.registered.iter().filter_map(next).min()
    }
}
