//! Other servers, each doing the same task as its documentation shows. A server that cannot be
//! started is reported with the reason.

mod broker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::load;
use crate::pacer::{self, PublishSchedule};
use crate::process::BenchProcess;
use crate::runner::poll_until;
use crate::{keys, machine, web};
use broker::{Broker, BrokerPublisher};

/// A server that `npm`, `go` or the system's packages provide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerServer {
    /// The name of the server in the report.
    pub(crate) name: &'static str,
    kind: PeerKind,
}

#[derive(Debug, Clone, Copy)]
enum PeerKind {
    /// A script in the `programs` folder, run by node.
    Node(&'static str),
    Go,
    Broker(Broker),
}

/// The server with which the original issue compares.
pub(crate) const UWEBSOCKETS: PeerServer = PeerServer {
    name: "uWebSockets",
    kind: PeerKind::Node("uws.js"),
};

/// The reference server of Socket.IO.
pub(crate) const SOCKETIO: PeerServer = PeerServer {
    name: "socket.io",
    kind: PeerKind::Node("socketio.js"),
};

/// The other peers of the comparison.
pub(crate) const OTHERS: [PeerServer; 5] = [
    PeerServer {
        name: "nchan",
        kind: PeerKind::Broker(Broker::Nchan),
    },
    PeerServer {
        name: "node ws",
        kind: PeerKind::Node("ws.js"),
    },
    PeerServer {
        name: "Go gorilla",
        kind: PeerKind::Go,
    },
    SOCKETIO,
    PeerServer {
        name: "NATS",
        kind: PeerKind::Broker(Broker::Nats),
    },
];

const PROGRAMS: [(&str, &str); 7] = [
    ("package.json", include_str!("programs/package.json")),
    ("common.js", include_str!("programs/common.js")),
    ("uws.js", include_str!("programs/uws.js")),
    ("ws.js", include_str!("programs/ws.js")),
    ("socketio.js", include_str!("programs/socketio.js")),
    ("gorilla.go", include_str!("programs/gorilla.go")),
    ("nats.conf", include_str!("programs/nats.conf")),
];
const NGINX_CONF: &str = include_str!("programs/nginx.conf");

/// A running peer, which ends when dropped.
#[derive(Debug)]
pub(crate) struct RunningPeer {
    /// The process of the server.
    pub(crate) process: BenchProcess,
    beat: PublishSchedule,
    broker: Option<(Broker, u16)>,
    publisher: Option<BrokerPublisher>,
}

impl PeerServer {
    /// Starts the peer on the servers' core. It publishes after [`RunningPeer::publish`].
    pub(crate) fn start(self, port: u16, beat: PublishSchedule) -> anyhow::Result<RunningPeer> {
        let folder = unpack()?;
        let mut command = match self.kind {
            PeerKind::Node(script) => node(&folder, script)?,
            PeerKind::Go => Command::new(build_gorilla(&folder)?),
            PeerKind::Broker(Broker::Nchan) => nchan(&folder, port)?,
            PeerKind::Broker(Broker::Nats) => Command::new("nats-server"),
        };
        let mut broker = None;
        if let PeerKind::Broker(kind) = self.kind {
            let publishing = if kind == Broker::Nats {
                web::free_port()?
            } else {
                port
            };
            broker = Some((kind, publishing));
            if kind == Broker::Nats {
                let text = fs::read_to_string(folder.join("nats.conf"))?;
                let path = folder.join("nats.run.conf");
                fs::write(
                    &path,
                    text.replace("@PORT@", &port.to_string())
                        .replace("@TCP@", &publishing.to_string()),
                )?;
                command.arg("-c").arg(path);
            }
        }
        command
            .env("PORT", port.to_string())
            .env("SECRET", keys::SECRET)
            .env("PAYLOAD", pacer::template());
        command
            .env("RATE", beat.rate.to_string())
            .env("CH", beat.channels.to_string())
            .env("GOMAXPROCS", "1");
        let name = self.name.to_lowercase().replace(['.', ' '], "-");
        let mut process = BenchProcess::spawn(&name, Some(machine::SERVER_CORE), &mut command)?;
        process.drain_output();
        let listening = || {
            std::net::TcpStream::connect(("127.0.0.1", port))
                .ok()
                .map(drop)
        };
        poll_until(Duration::from_secs(5), "listening", listening)?;
        Ok(RunningPeer {
            process,
            beat,
            broker,
            publisher: None,
        })
    }

    /// Returns the connection plan of its clients.
    pub(crate) fn plan(
        self,
        running: &RunningPeer,
        port: u16,
        groups: Vec<load::ConnectionGroup>,
    ) -> load::LoadPlan {
        let plain = load::LoadPlan::for_plain_server(port, running.process.pid(), groups);
        match self.kind {
            PeerKind::Node("socketio.js") => load::LoadPlan {
                path: "/socket.io/?EIO=4&transport=websocket&ch={ch}&token={token}".into(),
                subscribe: Some("40".into()),
                ..plain
            },
            PeerKind::Node(_) | PeerKind::Go => load::LoadPlan {
                path: "/ws/{ch}?token={token}".into(),
                ..plain
            },
            PeerKind::Broker(Broker::Nats) => load::LoadPlan {
                path: "/".into(),
                subscribe: Some("CONNECT {\"verbose\":false}\r\nSUB s.{ch} 1\r\n".into()),
                ..plain
            },
            PeerKind::Broker(Broker::Nchan) => plain,
        }
    }
}

impl RunningPeer {
    /// Starts the publications, by the peer itself or through its broker.
    pub(crate) fn publish(&mut self) -> anyhow::Result<()> {
        match self.broker {
            None => self.process.send_line("go"),
            Some((broker, port)) => {
                self.publisher = Some(BrokerPublisher::start(broker, port, self.beat)?);
                Ok(())
            }
        }
    }
}

/// Writes the programs to a folder in which their dependencies can be installed.
fn unpack() -> anyhow::Result<PathBuf> {
    let folder = crate::output::output_folder()?.join("peers");
    fs::create_dir_all(&folder)?;
    for (name, text) in PROGRAMS {
        fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    Ok(folder)
}

fn node(folder: &Path, script: &str) -> anyhow::Result<Command> {
    if !folder.join("node_modules").is_dir() {
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(folder))?;
    }
    let mut command = Command::new("node");
    command.arg(folder.join(script)).current_dir(folder);
    Ok(command)
}

/// Builds the Go server once, with the libraries of Debian's packages.
fn build_gorilla(folder: &Path) -> anyhow::Result<PathBuf> {
    let binary = folder.join("gorilla");
    if !binary.is_file() {
        let mut build = Command::new("go");
        build
            .args(["build", "-o", "gorilla", "gorilla.go"])
            .current_dir(folder);
        build
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode");
        run(&mut build).context(
            "needs golang-go golang-github-gorilla-websocket-dev golang-github-golang-jwt-jwt-dev",
        )?;
    }
    Ok(binary)
}

fn nchan(folder: &Path, port: u16) -> anyhow::Result<Command> {
    let module = Path::new("/usr/lib/nginx/modules/ngx_nchan_module.so");
    ensure!(module.is_file(), "needs nginx-light libnginx-mod-nchan");
    let (own, conf) = (folder.join("nginx"), folder.join("nginx.run.conf"));
    fs::create_dir_all(&own)?;
    fs::write(
        &conf,
        NGINX_CONF
            .replace("@PORT@", &port.to_string())
            .replace("@DIR@", &own.to_string_lossy()),
    )?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(conf);
    Ok(command)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("no {program} here"))?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
