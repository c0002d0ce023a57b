//! Collects the Socket.IO apps of one listener and mounts them together.

#[cfg(not(feature = "socketio"))]
pub(super) use disabled::SocketIoApps;
#[cfg(feature = "socketio")]
pub(super) use enabled::SocketIoApps;

#[cfg(feature = "socketio")]
mod enabled {
    use std::sync::Arc;

    use latido_app_kit::{AppDeps, AppServices};
    use latido_base::drain::Drain;
    use latido_http::AppMounts;
    use latido_socketio::{Config, SocketIoApp, SocketIoMount};

    /// The Socket.IO apps of one listener.
    pub(in crate::app) struct SocketIoApps(Vec<Arc<dyn SocketIoApp>>);

    impl SocketIoApps {
        pub(in crate::app) fn new() -> Self {
            Self(Vec::new())
        }

        pub(in crate::app) fn add(&mut self, services: &AppServices) {
            self.0.extend(services.socketio_apps.iter().cloned());
        }

        /// Mounts the apps, if there are any. `request_drain` counts their connections.
        pub(in crate::app) fn mount(
            self,
            mounts: &mut AppMounts,
            deps: &AppDeps,
            request_drain: &Drain,
        ) {
            if !self.0.is_empty() {
                let config = Config::from(&deps.limits);
                mounts.socketio_mount = Some(SocketIoMount::start(&config, &self.0, request_drain));
            }
        }
    }
}

#[cfg(not(feature = "socketio"))]
mod disabled {
    use latido_app_kit::{AppDeps, AppServices};
    use latido_base::drain::Drain;
    use latido_http::AppMounts;

    /// Stands in for the Socket.IO apps in a build without Socket.IO, which has none.
    pub(in crate::app) struct SocketIoApps;

    impl SocketIoApps {
        pub(in crate::app) fn new() -> Self {
            Self
        }

        pub(in crate::app) fn add(&mut self, _services: &AppServices) {}

        pub(in crate::app) fn mount(
            self,
            _mounts: &mut AppMounts,
            _deps: &AppDeps,
            _request_drain: &Drain,
        ) {
        }
    }
}
