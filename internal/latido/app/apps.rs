//! Starts the enabled apps and assigns them to listeners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::apps::{Setting, gateway, messaging, modules, workspace};
use crate::config::WantedApp;
use latido_app_kit::{Parts, Served};
use latido_base::drain::Drain;
use latido_http::{self as http, Annex, Listener};
use latido_session::SessionLimits;
use latido_socketio::{self as socketio, SocketIoApp, SocketIoMount};

/// Starts one app. Every app has its line here.
fn start(setting: &Setting, deps: &Parts) -> anyhow::Result<Served> {
    match setting {
        Setting::Gateway(config) => gateway::start(config, deps),
        Setting::Messaging(config) => messaging::start(config, deps),
        Setting::Workspace(config) => Ok(workspace::start(config, deps)),
        Setting::Modules(config) => modules::start(config, deps),
    }
}

/// Derives the Socket.IO settings. The limits of a client are those of every WebSocket; the packet
/// sizes are the protocol's defaults.
fn socketio(limits: &SessionLimits) -> socketio::Config {
    socketio::Config {
        ping_interval: Duration::from_secs(limits.heartbeat_s.into()),
        slow_client: Duration::from_secs(limits.slow_client_s.into()),
        messages_per_second: limits.messages_per_second,
        message_burst: limits.message_burst,
        ..socketio::Config::default()
    }
}

/// A group of apps that share a listener.
pub(super) struct Group {
    /// The group's own listener, or `None` for the server's main listener.
    pub(super) listener: Option<Listener>,
    settings: Vec<Setting>,
}

impl Group {
    /// Returns the address of its own listener, or `None` for the main listener.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(Listener::address)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.settings.iter().map(Setting::name)
    }

    /// Starts the group's apps. `request_drain` counts their connections and signals shutdown.
    pub(super) fn open(&self, deps: &Parts, request_drain: &Drain) -> anyhow::Result<Annex> {
        let is_dedicated = self.listener.is_some();
        let deps = Parts {
            is_alone: is_dedicated && self.settings.len() == 1,
            ..deps.clone()
        };
        let mut socketio_apps: Vec<Arc<dyn SocketIoApp>> = Vec::new();
        let mut mounts = Annex {
            is_theirs: is_dedicated,
            ..Annex::default()
        };
        for setting in &self.settings {
            let name = setting.name();
            let Served {
                sites: routes,
                piers: websocket_apps,
                dialects,
            } = start(setting, &deps).with_context(|| format!("the app {name} can't start"))?;
            tracing::info!(app = name, address = ?self.address(), "app switched on");
            mounts.apps.push(name);
            mounts.sites.extend(routes);
            mounts.piers.extend(websocket_apps);
            socketio_apps.extend(dialects);
        }
        if !socketio_apps.is_empty() {
            mounts.gate = Some(SocketIoMount::start(
                &socketio(&deps.limits),
                &socketio_apps,
                request_drain,
            ));
        }
        Ok(mounts)
    }
}

/// Binds the main listener and the separate listeners of apps. Sockets that were handed over by
/// systemd or by an earlier process are reused. The first group is that of the main listener and
/// may be empty.
pub(super) fn bind(
    reuse_port: bool,
    main: SocketAddr,
    enabled: Vec<WantedApp>,
) -> anyhow::Result<(http::Listener, Vec<Group>)> {
    let mut sockets = http::Sockets::take(reuse_port)
        .context("the sockets that were handed over can't be used")?;
    let listener = sockets
        .listen(main)
        .with_context(|| format!("can't listen on {main}"))?;
    let groups = bind_apps(&mut sockets, main, enabled)?;
    let unused = sockets.unused();
    if !unused.is_empty() {
        tracing::warn!(ports = ?unused, "sockets were handed over for ports that nothing here listens on");
    }
    Ok((listener, groups))
}

fn bind_apps(
    sockets: &mut http::Sockets,
    main: SocketAddr,
    enabled: Vec<WantedApp>,
) -> anyhow::Result<Vec<Group>> {
    let mut groups = vec![Group {
        listener: None,
        settings: Vec::new(),
    }];
    for WantedApp { port, setting } in enabled {
        let Some(port) = port.filter(|port| *port == 0 || *port != main.port()) else {
            groups[0].settings.push(setting);
            continue;
        };
        let same = |group: &&mut Group| {
            port != 0
                && group
                    .address()
                    .is_some_and(|address| address.port() == port)
        };
        if let Some(group) = groups.iter_mut().find(same) {
            group.settings.push(setting);
            continue;
        }
        let address = SocketAddr::new(main.ip(), port);
        let listener = sockets
            .listen(address)
            .with_context(|| format!("can't listen on {address} for {}", setting.name()))?;
        groups.push(Group {
            listener: Some(listener),
            settings: vec![setting],
        });
    }
    Ok(groups)
}
