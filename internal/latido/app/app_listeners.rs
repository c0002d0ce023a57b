//! Starts the enabled apps and assigns them to listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;

use crate::apps::{AppSettings, gateway, messaging, modules, workspace};
use crate::config::EnabledApp;
use latido_app_kit::{AppDeps, AppServices};
use latido_base::drain::Drain;
use latido_http::{self as http, AppMounts, HttpListener, ListenConfig};
use latido_socketio::{self as socketio, SocketIoApp, SocketIoMount};

/// Starts one app. Every app has its line here.
fn start_app(setting: &AppSettings, deps: &AppDeps) -> anyhow::Result<AppServices> {
    match setting {
        AppSettings::Gateway(config) => gateway::start(config, deps),
        AppSettings::Messaging(config) => messaging::start(config, deps),
        AppSettings::Workspace(config) => Ok(workspace::start(config, deps)),
        AppSettings::Modules(config) => modules::start(config, deps),
    }
}

/// A group of apps that share a listener.
pub(super) struct ListenerGroup {
    /// The group's own listener, or `None` for the server's main listener.
    pub(super) listener: Option<HttpListener>,
    settings: Vec<AppSettings>,
}

impl ListenerGroup {
    /// Returns the address of its own listener, or `None` for the main listener.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(HttpListener::address)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.settings.iter().map(AppSettings::name)
    }

    /// Starts the group's apps. `request_drain` counts their connections and signals shutdown.
    pub(super) fn start_apps(
        &self,
        deps: &AppDeps,
        request_drain: &Drain,
    ) -> anyhow::Result<AppMounts> {
        let is_dedicated = self.listener.is_some();
        let deps = AppDeps {
            is_dedicated: is_dedicated && self.settings.len() == 1,
            ..deps.clone()
        };
        let mut socketio_apps: Vec<Arc<dyn SocketIoApp>> = Vec::new();
        let mut mounts = AppMounts {
            is_dedicated,
            ..AppMounts::default()
        };
        for setting in &self.settings {
            let name = setting.name();
            let AppServices {
                http_apps: routes,
                websocket_apps,
                socketio_apps: dialects,
            } = start_app(setting, &deps).with_context(|| format!("the app {name} can't start"))?;
            let address = self.address().map(tracing::field::display);
            tracing::info!(app = name, address, "app switched on");
            mounts.apps.push(name);
            mounts.http_apps.extend(routes);
            mounts.websocket_apps.extend(websocket_apps);
            socketio_apps.extend(dialects);
        }
        if !socketio_apps.is_empty() {
            mounts.socketio_mount = Some(SocketIoMount::start(
                &socketio::Config::from(&deps.limits),
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
        settings: Vec::new(),
    }];
    for EnabledApp { port, setting } in enabled {
        let Some(port) = port.filter(|port| *port == 0 || *port != main.port()) else {
            groups[0].settings.push(setting);
            continue;
        };
        let same = |group: &&mut ListenerGroup| {
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
        groups.push(ListenerGroup {
            listener: Some(listener),
            settings: vec![setting],
        });
    }
    Ok(groups)
}
