//! The routes of the official Socket.IO client scripts.

use std::future::ready;

use latido_socketio::CLIENT_FILES;

use crate::router::{RouteRequest, Router, public};

impl<S: Send + Sync + 'static> Router<S> {
    /// Adds the addresses of the client scripts, which a Socket.IO server has.
    #[must_use]
    pub fn client_files(self) -> Self {
        CLIENT_FILES.into_iter().fold(self, |router, file| {
            router.get(file.path, public, move |_, route: RouteRequest<()>| {
                ready(file.respond(&route.request))
            })
        })
    }
}
