//! Which apps are served, and at which listeners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::apps::{Parts, Served, Setting, gateway, messaging, modules, workspace};
use crate::config::WantedApp;
use crate::drain::Drain;
use crate::http::{self, Annex, Listener};
use crate::session::Limits;
use crate::socketio::{self, Dialect, Endpoint};

/// Starts an app. Each has its line here.
fn start(setting: &Setting, parts: &Parts) -> anyhow::Result<Served> {
    match setting {
        Setting::Gateway(config) => gateway::start(config, parts),
        Setting::Messaging(config) => messaging::start(config, parts),
        Setting::Workspace(config) => Ok(workspace::start(config, parts)),
        Setting::Modules(config) => modules::start(config, parts),
    }
}

/// One client's limits are those of every WebSocket; the packets are the protocol's own.
fn socketio(limits: &Limits) -> socketio::Config {
    socketio::Config {
        ping_interval: Duration::from_secs(limits.heartbeat_s.into()),
        behind: Duration::from_secs(limits.behind_s.into()),
        messages_per_second: limits.messages_per_second,
        message_burst: limits.message_burst,
        ..socketio::Config::default()
    }
}

/// Apps that share a listener.
pub(super) struct Group {
    /// None: the server's main one.
    pub(super) listener: Option<Listener>,
    settings: Vec<Setting>,
}

impl Group {
    /// Where it listens, unless at the main listener.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(Listener::address)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.settings.iter().map(Setting::name)
    }

    /// Starts its apps. `front` counts their connections, and tells when to end them.
    pub(super) fn open(&self, parts: &Parts, front: &Drain) -> anyhow::Result<Annex> {
        let is_theirs = self.listener.is_some();
        let parts = Parts {
            is_alone: is_theirs && self.settings.len() == 1,
            ..parts.clone()
        };
        let mut spoken: Vec<Arc<dyn Dialect>> = Vec::new();
        let mut annex = Annex {
            is_theirs,
            ..Annex::default()
        };
        for setting in &self.settings {
            let name = setting.name();
            let Served {
                sites,
                piers,
                dialects,
            } = start(setting, &parts).with_context(|| format!("the app {name} can't start"))?;
            tracing::info!(app = name, address = ?self.address(), "app switched on");
            annex.apps.push(name);
            annex.sites.extend(sites);
            annex.piers.extend(piers);
            spoken.extend(dialects);
        }
        if !spoken.is_empty() {
            annex.gate = Some(Endpoint::start(&socketio(&parts.limits), &spoken, front));
        }
        Ok(annex)
    }
}

/// Binds the main listener, or takes it from whoever handed it over, and those of apps that have their own; the first group is that of
/// the main one, and may be empty.
pub(super) fn bind(
    reuse_port: bool,
    main: SocketAddr,
    wanted: Vec<WantedApp>,
) -> anyhow::Result<(http::Listener, Vec<Group>)> {
    let mut sockets = http::Sockets::take(reuse_port)
        .context("the sockets that were handed over can't be used")?;
    let listener = sockets
        .listen(main)
        .with_context(|| format!("can't listen on {main}"))?;
    let groups = bind_apps(&mut sockets, main, wanted)?;
    let unused = sockets.unused();
    if !unused.is_empty() {
        tracing::warn!(ports = ?unused, "sockets were handed over for ports that nothing here listens on");
    }
    Ok((listener, groups))
}

fn bind_apps(
    sockets: &mut http::Sockets,
    main: SocketAddr,
    wanted: Vec<WantedApp>,
) -> anyhow::Result<Vec<Group>> {
    let mut groups = vec![Group {
        listener: None,
        settings: Vec::new(),
    }];
    for WantedApp { port, setting } in wanted {
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
