//! Socket.IO by WebSocket: the cost of a connection and of a delivered event, next to native
//! connections and to Node's server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cluster::{BenchCluster, BenchDatabase, Durability};
use crate::load::{ConnectionGroup, LoadPlan, LoadProcess};
use crate::machine;
use crate::pacer::{self, PublishSchedule};
use crate::peers::{self, RunningPeer};
use crate::process::{BenchProcess, now_ns};
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, MeasuredSubject, Scenario};
use crate::server::{LatidoServer, LatidoSettings};
use crate::web;
use crate::writer::ScheduledWriter;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "socketio",
    about: "Socket.IO by WebSocket: 2,000 authenticated connections at rest, then 20 events a second for all of them",
    run,
};

const CONNECTIONS: usize = 2_000;
/// The connections before the first figure, so that one-time memory is not counted.
const FIRST: usize = 100;
const EVENTS_PER_SECOND: f64 = 20.0;

const MEMORY: &str = "memory a connection";
const CONNECT: &str = "server CPU a connect";
const CPU: &str = "server CPU an event";

const API_KEY: &str = "the benchmark's own key of modules";
const VARIABLES: [(&str, &str); 2] = [("LATIDO_APPS", "modules"), ("MODULES_API_KEY", API_KEY)];
const EMIT_PATH: &str = "/api/modules/emit/emitSystemMaintenance";

/// A kind of connections, and their server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketSubject {
    /// The native protocol: frames of commits.
    Native,
    /// Socket.IO of the app `modules`: events of its API.
    SocketIo,
    /// Node's server, which publishes by itself.
    Node,
}

impl MeasuredSubject for SocketSubject {
    fn name(&self) -> String {
        match self {
            Self::Native => "latido, native".into(),
            Self::SocketIo => "latido, Socket.IO".into(),
            Self::Node => "node socket.io".into(),
        }
    }
}

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, Some(machine::LOAD_CORE))?;
    let database = store.database(bench.runtime(), "socketio", 1, 100)?;
    crate::server::install(&settings(&database))?;
    let subjects = [
        SocketSubject::Native,
        SocketSubject::SocketIo,
        SocketSubject::Node,
    ];
    bench.interleave(&subjects, |bench, subject| {
        measure(bench, *subject, &database)
    })?;
    let (own, native) = (SocketSubject::SocketIo.name(), SocketSubject::Native.name());
    bench.goal(Goal::value(&own, MEMORY, GoalBound::AtMost(2.0)));
    bench.goal(Goal::ratio(&own, CPU, &native, GoalBound::AtMost(1.25)));
    bench.goal(Goal::ratio(&own, CONNECT, &native, GoalBound::AtMost(2.0)));
    bench.note("a connect: the upgrade, the token in the query, and the first answer (native: the snapshot; Socket.IO and node: the connect packet)");
    bench.note(
        "an event: the same data of some 280 bytes; Socket.IO's has an envelope of 110 bytes more",
    );
    Ok(())
}

fn settings(database: &BenchDatabase) -> LatidoSettings<'_> {
    LatidoSettings {
        variables: &VARIABLES,
        ..LatidoSettings::new(database)
    }
}

fn measure(
    bench: &mut BenchContext,
    subject: SocketSubject,
    database: &BenchDatabase,
) -> anyhow::Result<()> {
    let (name, connections) = (subject.name(), bench.count(CONNECTIONS));
    let mut server = RunningServer::start(subject, database)?;
    let (_first, _) = LoadProcess::open(&server.plan(FIRST))?;
    let before = server.process().rss();
    let (mut load, opened) = LoadProcess::open(&server.plan(connections))?;
    load.rest(bench.seconds(2.0))?;
    let grown = server.process().rss().saturating_sub(before);
    bench.sample(
        &name,
        MEMORY,
        "KiB",
        grown as f64 / 1024.0 / connections as f64,
    );
    bench.sample(&name, CONNECT, "µs", opened.cpu_us());
    let _publisher = server.publish(database)?;
    let counted = load.count(1.0, bench.seconds(4.0))?;
    // Only authenticated clients get the events.
    anyhow::ensure!(counted.least > 0, "no event came: {:?}", counted.trouble);
    anyhow::ensure!(counted.lost == 0, "{} connections were lost", counted.lost);
    // The first connections get the events too, but only the others count them.
    let all = (connections + FIRST) as f64 / connections as f64;
    bench.sample(&name, CPU, "µs", counted.cpu_us() / all);
    if let Some(group) = counted.groups.first().filter(|group| group.delay_ms.of > 0) {
        bench.sample(&name, "delay p99", "ms", group.delay_ms.p99);
    }
    Ok(())
}

/// A server of one subject, which ends when dropped.
enum RunningServer {
    Latido(SocketSubject, LatidoServer),
    Node(RunningPeer, u16),
}

/// What publishes until it is dropped, if the server does not do it by itself.
enum Publisher {
    Commits(#[expect(dead_code, reason = "it ends when dropped")] ScheduledWriter),
    Requests(#[expect(dead_code, reason = "it ends when dropped")] EventPublisher),
    Server,
}

impl RunningServer {
    fn start(subject: SocketSubject, database: &BenchDatabase) -> anyhow::Result<Self> {
        if subject == SocketSubject::Node {
            let port = web::free_port()?;
            let schedule = PublishSchedule::new(1, EVENTS_PER_SECOND);
            return Ok(Self::Node(peers::SOCKETIO.start(port, schedule)?, port));
        }
        let server = LatidoServer::start_installed(&settings(database))?;
        Ok(Self::Latido(subject, server))
    }

    fn process(&self) -> &BenchProcess {
        match self {
            Self::Latido(_, server) => &server.process,
            Self::Node(peer, _) => &peer.process,
        }
    }

    fn plan(&self, connections: usize) -> LoadPlan {
        let groups = vec![ConnectionGroup::new(connections, 1)];
        let pid = self.process().pid();
        match self {
            Self::Latido(SocketSubject::Native, server) => {
                LoadPlan::for_latido(server.port, pid, groups)
            }
            Self::Latido(_, server) => LoadPlan {
                path: "/socket.io/?EIO=4&transport=websocket&token={token}".into(),
                subscribe: Some("40".into()),
                await_snapshot: true,
                welcome: Some("40{\"sid\"".into()),
                ..LoadPlan::for_plain_server(server.port, pid, groups)
            },
            Self::Node(peer, port) => LoadPlan {
                await_snapshot: true,
                welcome: Some("40{\"sid\"".into()),
                ..peers::SOCKETIO.plan(peer, *port, groups)
            },
        }
    }

    fn publish(&mut self, database: &BenchDatabase) -> anyhow::Result<Publisher> {
        let schedules = [PublishSchedule::new(1, EVENTS_PER_SECOND)];
        Ok(match self {
            Self::Latido(SocketSubject::Native, _) => {
                Publisher::Commits(ScheduledWriter::start(database, &schedules)?)
            }
            Self::Latido(_, server) => {
                Publisher::Requests(EventPublisher::start(server.port, schedules)?)
            }
            Self::Node(peer, _) => {
                peer.publish()?;
                Publisher::Server
            }
        })
    }
}

/// A thread that publishes events by the API of `modules` until it is dropped.
struct EventPublisher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EventPublisher {
    fn start(port: u16, schedules: [PublishSchedule; 1]) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut connection = ApiConnection::open(port)?;
        connection.emit(0)?;
        let work = move || {
            pacer::run_schedules(&schedules, |_, turn| {
                connection.emit(turn).is_ok() && !stopped.load(Ordering::Relaxed)
            });
        };
        let thread = machine::on_core(Some(machine::LOAD_CORE), || std::thread::spawn(work))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for EventPublisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panicked thread has already printed its message.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A connection for requests to the API.
struct ApiConnection {
    stream: BufReader<TcpStream>,
    port: u16,
}

impl ApiConnection {
    fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            port,
        })
    }

    /// Publishes an event to every client, with the data of a native frame.
    fn emit(&mut self, turn: u64) -> anyhow::Result<()> {
        let data: Value = serde_json::from_str(&pacer::payload(0, turn, now_ns()))?;
        let body = json!({"inMaintenance": true, "reason": data, "adminUserId": "1"}).to_string();
        let request = format!(
            "POST {EMIT_PATH} HTTP/1.1\r\nHost: localhost:{}\r\nX-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (String::new(), 0);
        self.stream.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().context("a content length")?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        anyhow::ensure!(status.contains(" 200 "), "the API answered {status}");
        Ok(())
    }
}
