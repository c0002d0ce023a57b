//! What all sessions of a mount share.

use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, millis};
use crate::engine::{Millis, Timing};
use crate::message_service::MessageService;
use crate::namespaces::Namespaces;
use crate::unidentified::UnidentifiedSessions;
use latido_base::clock::monotonic_now;
use latido_base::drain::Drain;
use latido_session::SessionLimits;

/// What all sessions of a mount share.
pub(crate) struct MountShared {
    pub(crate) path: &'static str,
    pub(crate) config: Config,
    pub(crate) timing: Timing,
    /// The limits of a WebSocket, which also hold for the packets of a polling session.
    pub(crate) limits: SessionLimits,
    pub(crate) service: MountService,
    pub(crate) unidentified: Arc<UnidentifiedSessions>,
    pub(crate) drain: Drain,
    /// The origin of all [`Millis`] of the mount.
    started: Instant,
}

/// The layer above Engine.IO.
pub(crate) enum MountService {
    SocketIo(Namespaces),
    Messages(Arc<dyn MessageService>),
}

impl MountShared {
    pub(crate) fn new(
        path: &'static str,
        config: Config,
        service: MountService,
        drain: &Drain,
    ) -> Self {
        Self {
            path,
            timing: config.timing(),
            limits: config.socket_limits(),
            service,
            unidentified: UnidentifiedSessions::new(&config),
            drain: drain.clone(),
            started: monotonic_now(),
            config,
        }
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> Millis {
        millis(monotonic_now().saturating_duration_since(self.started))
    }

    /// Converts an instant, rounded up so that a timer never fires early.
    pub(crate) fn millis_at(&self, instant: Instant) -> Millis {
        millis(instant.saturating_duration_since(self.started)) + 1
    }

    /// Converts a time of the mount to an instant.
    pub(crate) fn instant_at(&self, at: Millis) -> Instant {
        self.started + std::time::Duration::from_millis(at)
    }

    /// Returns whether clients of Engine.IO 3 may connect.
    pub(crate) fn allows_engineio_3(&self) -> bool {
        match &self.service {
            MountService::SocketIo(namespaces) => {
                namespaces.apps().iter().any(|app| app.allows_engineio_3())
            }
            MountService::Messages(_) => true,
        }
    }

    /// Returns the headers that sessions keep.
    pub(crate) fn kept_headers(&self) -> Vec<&'static str> {
        match &self.service {
            MountService::SocketIo(namespaces) => namespaces.kept_headers(),
            MountService::Messages(_) => Vec::new(),
        }
    }
}
