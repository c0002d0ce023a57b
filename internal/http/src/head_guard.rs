//! The deadline and the strictness of the request heads on a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::head_scanner::HeadScanner;
use crate::peer::Peer;
use latido_telemetry::Metrics;

/// Watches the bytes of a connection until its upgrade.
///
/// The deadline of the first head starts when the connection is accepted, and
/// `HttpServer` holds it. The deadline of each further head starts
/// with its first byte; without a byte the connection may idle longer.
pub(super) struct HeadGuard {
    scanner: HeadScanner,
    peer: Peer,
    head_timeout: Duration,
    overdue: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
}

impl HeadGuard {
    pub(super) fn new(peer: Peer, head_timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            scanner: HeadScanner::default(),
            peer,
            head_timeout,
            overdue: None,
            metrics,
        }
    }

    /// Scans bytes that were read; those that are invalid are marked for the HTTP library.
    pub(super) fn on_read(&mut self, bytes: &mut [u8]) {
        if self.scanner.is_at_upgrade() && self.peer.take_upgrade_refused() {
            self.scanner.resume();
        }
        self.scanner.scan(bytes);
        if self.scanner.is_at_upgrade() {
            // An answer to an earlier request says nothing about this one.
            self.peer.take_upgrade_refused();
        }
        if !self.scanner.is_in_head() {
            self.overdue = None;
        }
    }

    /// Completes when a head that has begun is overdue.
    pub(super) fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.scanner.heads() == 0 || !self.scanner.is_in_head() {
            return Poll::Pending;
        }
        let timeout = self.head_timeout;
        let overdue = self.overdue.get_or_insert_with(|| Box::pin(sleep(timeout)));
        let is_overdue = overdue.as_mut().poll(context);
        if is_overdue.is_ready() {
            self.overdue = None;
            self.metrics.count_refusal("slow_head");
        }
        is_overdue
    }
}
