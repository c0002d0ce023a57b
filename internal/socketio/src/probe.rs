//! A WebSocket that the client of a polling session tries out.

use tokio::sync::oneshot;

use crate::config::millis;
use crate::engine::Millis;
use crate::mount_shared::MountShared;
use crate::polling_table::PollingHandle;
use latido_socketio_protocol::engineio::Version;

/// The try of a polling session.
pub(crate) struct Probe {
    pub(crate) session: PollingHandle,
    pub(crate) version: Version,
    /// Dropped when the try ends, or when the session has moved. Until then the session accepts no
    /// second try.
    pub(crate) alive: Option<oneshot::Sender<()>>,
    /// The time by which the client must have upgraded.
    pub(crate) until: Millis,
}

impl Probe {
    /// Creates the try of a session.
    pub(crate) fn new(
        mount: &MountShared,
        session: PollingHandle,
        version: Version,
        alive: oneshot::Sender<()>,
    ) -> Self {
        Self {
            session,
            version,
            alive: Some(alive),
            until: deadline(mount),
        }
    }

    /// Gives the client the whole time again.
    pub(crate) fn extend(&mut self, mount: &MountShared) {
        self.until = deadline(mount);
    }
}

fn deadline(mount: &MountShared) -> Millis {
    mount.now() + millis(mount.config.upgrade_timeout)
}
