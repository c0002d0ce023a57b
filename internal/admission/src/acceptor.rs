//! The decision about a connection that was just accepted: it gets its permits, or a `503`.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::connection_limits::{ConnectionLimits, LimitExceeded};
use crate::overload_response::OverloadResponder;
use crate::permit_set::PermitSet;
use crate::socket_options::set_socket_options;
use crate::trusted_proxies::TrustedProxies;
use latido_base::drain::Drain;
use latido_telemetry::Metrics;

/// An accepted connection that has not sent a request yet.
#[derive(Debug)]
pub struct PendingConnection {
    /// The accepted socket, in non-blocking mode.
    pub socket: TcpStream,
    /// The address of the TCP peer.
    pub address: SocketAddr,
    /// The connection's permits, held as long as the connection exists.
    pub permits: PermitSet,
    /// The time at which it was accepted.
    pub accepted_at: Instant,
}

/// Acquires the permits of a listener's connections, on any thread.
#[derive(Debug)]
pub struct Acceptor {
    limits: ConnectionLimits,
    proxies: TrustedProxies,
    /// Sends the `503` to a connection over the limits. `None` with TLS, since the client could not
    /// read it.
    responder: Option<OverloadResponder>,
    /// The time sent data may stay unacknowledged before the kernel drops the connection.
    unacknowledged_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Acceptor {
    /// Creates the acceptor of one listener. Must be called on the server's runtime.
    pub fn new(
        limits: ConnectionLimits,
        proxies: TrustedProxies,
        unacknowledged_timeout: Duration,
        metrics: Arc<Metrics>,
        drain: &Drain,
    ) -> Self {
        Self {
            limits,
            proxies,
            responder: Some(OverloadResponder::new(drain.clone())),
            unacknowledged_timeout,
            metrics,
        }
    }

    /// Closes connections over the limits without a response, because they expect TLS.
    #[must_use]
    pub fn without_responses(mut self) -> Self {
        self.responder = None;
        self
    }

    /// Returns the number of permits in use.
    pub fn in_use(&self) -> usize {
        self.limits.in_use()
    }

    /// Acquires the permits of a non-blocking connection. Returns `None` if a limit is reached; the
    /// rejection is counted and sent then.
    pub fn accept(&self, socket: TcpStream, address: SocketAddr) -> Option<PendingConnection> {
        match self.acquire(address) {
            Ok(permits) => {
                if cfg!(not(target_os = "linux")) {
                    set_socket_options(&SockRef::from(&socket), self.unacknowledged_timeout);
                }
                Some(PendingConnection {
                    socket,
                    address,
                    permits,
                    accepted_at: Instant::now(),
                })
            }
            Err(exceeded) => {
                self.metrics.count_refusal(exceeded.label());
                if let Some(responder) = &self.responder {
                    responder.reject(socket, exceeded);
                }
                None
            }
        }
    }

    fn acquire(&self, address: SocketAddr) -> Result<PermitSet, LimitExceeded> {
        self.limits.check_rate()?;
        // A trusted proxy's connections are counted later, by the client address of their requests.
        let is_counted = !self.proxies.trusts(address.ip());
        self.limits.acquire(is_counted.then_some(address.ip()))
    }
}
