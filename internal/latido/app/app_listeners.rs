//! Starts the enabled apps and assigns them to listeners.

use std::net::SocketAddr;

use anyhow::Context as _;

use super::notification_routes::NotificationRoutes;
use super::socketio_apps::SocketIoApps;
use crate::config::EnabledApp;
use latido_app_kit::AppDeps;
use latido_base::drain::Drain;
use latido_http::{self as http, AppMounts, HttpListener, ListenConfig};

/// A group of apps that share a listener.
pub(super) struct ListenerGroup {
    /// The group's own listener, or `None` for the server's main listener.
    listener: Option<HttpListener>,
    apps: Vec<EnabledApp>,
}

/// A group whose apps run, ready to be served.
pub(super) struct StartedGroup {
    /// The group's own listener, or `None` for the server's main listener.
    pub(super) listener: Option<HttpListener>,
    /// The endpoints of the apps, and their names.
    pub(super) mounts: AppMounts,
}

impl ListenerGroup {
    fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(HttpListener::address)
    }

    /// Starts the group's apps. `request_drain` counts their connections and signals shutdown.
    fn start(
        self,
        deps: &AppDeps,
        request_drain: &Drain,
        routes: &mut NotificationRoutes,
    ) -> anyhow::Result<StartedGroup> {
        let is_dedicated = self.listener.is_some();
        let deps = AppDeps {
            is_dedicated: is_dedicated && self.apps.len() == 1,
            ..deps.clone()
        };
        let mut mounts = AppMounts {
            is_dedicated,
            ..AppMounts::default()
        };
        let mut socketio = SocketIoApps::new();
        for EnabledApp { app, starter, .. } in &self.apps {
            let name = app.name();
            let started = starter(&deps);
            let services = started.with_context(|| format!("the app {name} can't start"))?;
            tracing::info!(
                app = name,
                address = self.address().map(tracing::field::display),
                "app switched on"
            );
            mounts.apps.push(name);
            mounts.openapi.extend(app.openapi());
            socketio.add(&services);
            mounts.http_apps.extend(services.http_apps);
            mounts.websocket_apps.extend(services.websocket_apps);
            mounts.cookie_origins.extend(services.cookie_origins);
            if let Some(handler) = services.notifications {
                routes.add(*app, handler);
            }
        }
        socketio.mount(&mut mounts, &deps, request_drain);
        Ok(StartedGroup {
            listener: self.listener,
            mounts,
        })
    }
}

/// Starts the apps of all groups. Returns the groups, and the routes of the apps that receive
/// notifications.
pub(super) fn start(
    groups: Vec<ListenerGroup>,
    deps: &AppDeps,
    request_drain: &Drain,
) -> anyhow::Result<(Vec<StartedGroup>, NotificationRoutes)> {
    let mut routes = NotificationRoutes::default();
    let start = |group: ListenerGroup| group.start(deps, request_drain, &mut routes);
    let started: anyhow::Result<Vec<_>> = groups.into_iter().map(start).collect();
    Ok((started?, routes))
}

/// Binds the main listener and the separate listeners of apps. Sockets that were handed over by
/// systemd or by an earlier process are reused. The first group is that of the main listener and
/// may be empty.
pub(super) fn bind(
    listen: ListenConfig,
    enabled: Vec<EnabledApp>,
) -> anyhow::Result<(http::HttpListener, Vec<ListenerGroup>)> {
    let main = listen.address;
    let mut sockets = http::ListenSockets::from_env(listen.reuse_port)
        .context("the sockets that were handed over can't be used")?;
    let listener = sockets
        .listen(main)
        .with_context(|| format!("can't listen on {main}"))?;
    let groups = bind_apps(&mut sockets, main, enabled)?;
    let unused = sockets.unused_ports();
    if !unused.is_empty() {
        let ports: Vec<_> = unused.iter().map(u16::to_string).collect();
        tracing::warn!(
            ports = ports.join(", "),
            "sockets were handed over for ports that nothing here listens on"
        );
    }
    Ok((listener, groups))
}

fn bind_apps(
    sockets: &mut http::ListenSockets,
    main: SocketAddr,
    enabled: Vec<EnabledApp>,
) -> anyhow::Result<Vec<ListenerGroup>> {
    let mut groups = vec![ListenerGroup {
        listener: None,
        apps: Vec::new(),
    }];
    for app in enabled {
        let Some(port) = app.port.filter(|port| *port == 0 || *port != main.port()) else {
            groups[0].apps.push(app);
            continue;
        };
        let same = |group: &&mut ListenerGroup| {
            port != 0
                && group
                    .address()
                    .is_some_and(|address| address.port() == port)
        };
        if let Some(group) = groups.iter_mut().find(same) {
            group.apps.push(app);
            continue;
        }
        let address = SocketAddr::new(main.ip(), port);
        let listener = sockets
            .listen(address)
            .with_context(|| format!("can't listen on {address} for {}", app.app.name()))?;
        groups.push(ListenerGroup {
            listener: Some(listener),
            apps: vec![app],
        });
    }
    Ok(groups)
}
