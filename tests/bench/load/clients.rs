//! All client connections of the load and the commands for them.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mio::{Events, Interest, Poll, Token};

use super::commands::{receive_commands, respond};
use super::connection::{ConnectionStage, LoadConnection, ParsedInput, parse_input};
use super::counters::LoadCounters;
use super::frames::{self, ServerFrame};
use super::histogram::LatencyHistogram;
use super::socket;
use super::yield_pauses::YieldPauses;
use super::{Counted, LoadCommand, LoadPlan, Opened};
use crate::keys;
use crate::process::{cpu_ns, now_ns};

/// The maximum number of events per sweep.
const EVENTS_PER_SWEEP: usize = 1024;
/// The size of the shared read buffer, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// The interval between two sweeps while frames are counted.
const SWEEP_INTERVAL: Duration = Duration::from_micros(500);
/// The longest wait of a sweep when nothing is counted.
const IDLE_WAIT: Duration = Duration::from_millis(5);
/// The silence after which a broadcast counts as finished.
const QUIET_PAUSE: Duration = Duration::from_millis(20);
/// The time limit for opening everything, in nanoseconds.
const OPENING_NS: u64 = 60_000_000_000;

/// Runs the load role: reads the plan, then executes commands until its input ends.
pub(crate) fn run_role() -> anyhow::Result<()> {
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("reading the plan")?;
    let mut clients = LoadClients::new(serde_json::from_str(&line).context("the plan")?)?;
    if clients.plan.recedes {
        rustix::process::nice(19)?;
    }
    let orders = receive_commands();
    loop {
        match orders.try_recv() {
            Ok(LoadCommand::Open) => respond(&clients.open_all(false)?)?,
            Ok(LoadCommand::Rest { seconds }) => {
                clients.run_for(seconds, IDLE_WAIT)?;
                respond(&clients.open_state())?;
            }
            Ok(LoadCommand::Count {
                warmup,
                seconds,
                patient,
            }) => respond(&clients.count(warmup, seconds, patient)?)?,
            Ok(LoadCommand::Storm) => respond(&clients.storm()?)?,
            Ok(LoadCommand::Close) => respond(&clients.close_all()?)?,
            Err(TryRecvError::Empty) => drop(clients.sweep(IDLE_WAIT)?),
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

struct LoadClients {
    plan: LoadPlan,
    poll: Poll,
    events: Events,
    connections: Vec<LoadConnection>,
    buffer: Vec<u8>,
    control: Vec<u8>,
    in_flight: usize,
    pauses: YieldPauses,
    open: usize,
    lost: usize,
    snapshots: usize,
    /// The failed connections to try again; used only in a storm.
    retries: Vec<usize>,
    in_storm: bool,
    handshakes: LatencyHistogram,
    first_error: Option<String>,
    counters: LoadCounters,
}

impl LoadClients {
    fn new(plan: LoadPlan) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        for (number, group) in plan.groups.iter().enumerate() {
            let number = u16::try_from(number).context("so many groups")?;
            let channel = |index: usize| {
                u32::try_from(group.first + index % group.channels.max(1)).unwrap_or(0)
            };
            connections.extend(
                (0..group.connections).map(|index| LoadConnection::idle(number, channel(index))),
            );
        }
        let pauses = YieldPauses::new(plan.recedes);
        Ok(Self {
            plan,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_PER_SWEEP),
            connections,
            buffer: vec![0; BUFFER_BYTES],
            control: socket::control_buffer(),
            in_flight: 0,
            pauses,
            open: 0,
            lost: 0,
            snapshots: 0,
            retries: Vec::new(),
            in_storm: false,
            handshakes: LatencyHistogram::new(),
            first_error: None,
            counters: LoadCounters::default(),
        })
    }

    /// Opens every connection, with a limited window of concurrent attempts.
    fn open_all(&mut self, in_storm: bool) -> anyhow::Result<Opened> {
        let window = if in_storm {
            usize::MAX
        } else {
            self.plan.window.max(1)
        };
        (self.in_storm, self.handshakes) = (in_storm, LatencyHistogram::new());
        let (began, cpu) = (now_ns(), self.plan.server.map_or(0, cpu_ns));
        let mut waiting: Vec<usize> = (0..self.connections.len()).rev().collect();
        let all = self.connections.len();
        while self.open + self.lost < all
            || (self.plan.await_snapshot && self.snapshots < self.open)
        {
            waiting.append(&mut self.retries);
            while self.in_flight < window
                && let Some(index) = waiting.pop()
            {
                self.start(index)?;
                if in_storm && self.in_flight.is_multiple_of(EVENTS_PER_SWEEP) {
                    self.sweep(Duration::ZERO)?;
                }
            }
            self.sweep(IDLE_WAIT)?;
            if now_ns() - began > OPENING_NS {
                self.first_error
                    .get_or_insert_with(|| "opening took too long".into());
                self.lost = all - self.open.min(self.snapshots_or_open());
                break;
            }
        }
        self.in_storm = false;
        let mut opened = self.open_state();
        opened.seconds = (now_ns() - began) as f64 / 1e9;
        opened.server_cpu_ns = self.plan.server.map_or(0, cpu_ns).saturating_sub(cpu);
        opened.handshake_ms = self.handshakes.quantiles();
        Ok(opened)
    }

    fn snapshots_or_open(&self) -> usize {
        if self.plan.await_snapshot {
            self.snapshots
        } else {
            self.open
        }
    }

    fn count(&mut self, warmup: f64, seconds: f64, patient: bool) -> anyhow::Result<Counted> {
        let pass = if patient {
            Self::read_in_pauses_for
        } else {
            Self::sweep_for
        };
        pass(self, warmup)?;
        self.counters
            .begin(self.plan.groups.len(), self.plan.server);
        self.connections
            .iter_mut()
            .for_each(|connection| connection.frames = 0);
        pass(self, seconds)?;
        let mut counted = self.counters.end(self.plan.server);
        let stalled = |c: &&LoadConnection| !self.plan.groups[usize::from(c.group)].stalled;
        let each = self
            .connections
            .iter()
            .filter(stalled)
            .map(|connection| connection.frames);
        (counted.least, counted.most) =
            each.fold((u64::MAX, 0), |(low, high), n| (low.min(n), high.max(n)));
        (counted.lost, counted.trouble) = (self.lost, self.first_error.clone());
        Ok(counted)
    }

    fn sweep_for(&mut self, seconds: f64) -> anyhow::Result<()> {
        self.run_for(seconds, Duration::ZERO)
    }

    /// Collects the readable connections, which costs almost nothing. Reads them once no other has
    /// become readable for a while.
    fn read_in_pauses_for(&mut self, seconds: f64) -> anyhow::Result<()> {
        let (end, mut ready) = (
            Instant::now() + Duration::from_secs_f64(seconds),
            BTreeSet::new(),
        );
        let mut last = Instant::now();
        while Instant::now() < end {
            std::thread::sleep(IDLE_WAIT);
            let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            self.poll
                .poll(&mut events, Some(Duration::ZERO))
                .context("polling")?;
            if !events.is_empty() {
                last = Instant::now();
                ready.extend(events.iter().map(|event| event.token().0));
            }
            self.events = events;
            if last.elapsed() > QUIET_PAUSE {
                std::mem::take(&mut ready)
                    .into_iter()
                    .for_each(|index| self.read(index));
            }
        }
        ready.into_iter().for_each(|index| self.read(index));
        Ok(())
    }

    /// Waits until all connections are closed and the server accepts again, then opens everything.
    fn storm(&mut self) -> anyhow::Result<Opened> {
        let deadline = now_ns() + OPENING_NS;
        while self.open > 0 && now_ns() < deadline {
            self.sweep(IDLE_WAIT)?;
        }
        anyhow::ensure!(self.open == 0, "the server never let everyone go");
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.plan.port)).is_err() {
            anyhow::ensure!(now_ns() < deadline, "the server did not come back");
            std::thread::sleep(Duration::from_millis(1));
        }
        (self.lost, self.snapshots, self.first_error) = (0, 0, None);
        self.open_all(true)
    }

    /// Sends a close frame on every connection and waits for the server's answers, or resets them
    /// all.
    fn close_all(&mut self) -> anyhow::Result<Opened> {
        if self.plan.resets {
            for connection in &mut self.connections {
                connection.socket = None;
                self.pauses.after_connection();
            }
            self.open = 0;
            return Ok(self.open_state());
        }
        for index in 0..self.connections.len() {
            self.send(index, 0x8, &1000_u16.to_be_bytes());
            self.pauses.after_connection();
        }
        let deadline = now_ns() + OPENING_NS;
        while self.open > 0 && now_ns() < deadline {
            self.sweep(IDLE_WAIT)?;
        }
        Ok(self.open_state())
    }

    fn open_state(&self) -> Opened {
        Opened {
            open: self.open,
            lost: self.lost,
            trouble: self.first_error.clone(),
            ..Opened::default()
        }
    }

    fn run_for(&mut self, seconds: f64, wait: Duration) -> anyhow::Result<()> {
        let end = now_ns() + Duration::from_secs_f64(seconds).as_nanos() as u64;
        while now_ns() < end {
            if self.sweep(wait)? < EVENTS_PER_SWEEP && wait.is_zero() {
                std::thread::sleep(SWEEP_INTERVAL);
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let is_stalled = self.plan.groups[usize::from(self.connections[index].group)].stalled;
        let socket = socket::connect(index, self.plan.port, is_stalled, self.plan.resets);
        let mut socket = socket.context("connecting")?;
        self.poll.registry().register(
            &mut socket,
            Token(index),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.connections[index].restart(socket, now_ns());
        self.in_flight += 1;
        Ok(())
    }

    /// Handles the ready sockets. Returns their number.
    fn sweep(&mut self, wait: Duration) -> anyhow::Result<usize> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(error).context("polling");
            }
            _ => {}
        }
        let mut seen = 0;
        for event in &events {
            seen += 1;
            let index = event.token().0;
            if self.connections[index].stage == ConnectionStage::Connecting
                && (event.is_writable() || event.is_error())
            {
                self.send_upgrade(index);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(index);
            }
            self.pauses.after_connection();
        }
        self.events = events;
        Ok(seen)
    }

    /// Sends the upgrade request of a connection.
    fn send_upgrade(&mut self, index: usize) {
        match self.request(index) {
            Ok(()) => self.connections[index].stage = ConnectionStage::Upgrading,
            Err(error) => self.fail(index, &format!("{error:#}")),
        }
    }

    fn request(&mut self, index: usize) -> anyhow::Result<()> {
        let connection = &self.connections[index];
        let mut socket = connection.socket.as_ref().context("no socket")?;
        socket.take_error()?.map_or(Ok(()), Err)?;
        let channel = connection.channel;
        let mut path = self.plan.path.replace("{ch}", &channel.to_string());
        if path.contains("{token}") {
            path = path.replace("{token}", &keys::token(index, channel as usize)?);
        }
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
            self.plan.port,
            frames::KEY
        );
        socket
            .write_all(request.as_bytes())
            .context("sending the request")
    }

    fn fail(&mut self, index: usize, why: &str) {
        let connection = &mut self.connections[index];
        connection.socket = None;
        match std::mem::replace(&mut connection.stage, ConnectionStage::Closed) {
            ConnectionStage::Closed => return,
            ConnectionStage::Open => (self.open, self.lost) = (self.open - 1, self.lost + 1),
            ConnectionStage::Connecting | ConnectionStage::Upgrading => {
                self.in_flight -= 1;
                if self.in_storm {
                    self.retries.push(index);
                    return;
                }
                self.lost += 1;
            }
        }
        if self.connections[index].has_snapshot {
            self.snapshots -= 1;
        }
        self.first_error.get_or_insert_with(|| why.to_owned());
    }

    fn read(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let connection = &self.connections[index];
            let is_stalled = self.plan.groups[usize::from(connection.group)].stalled
                && connection.stage == ConnectionStage::Open;
            let Some(socket) = connection.socket.as_ref().filter(|_| !is_stalled) else {
                break;
            };
            match socket::receive(socket, &mut buffer, &mut self.control) {
                Ok((0, _)) => self.fail(index, "closed by the server"),
                Ok((count, stamp)) => {
                    self.on_bytes(index, &buffer[..count], stamp);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                    ) =>
                {
                    break;
                }
                Err(error) => self.fail(index, &format!("reading: {error}")),
            }
        }
        self.buffer = buffer;
    }

    /// Parses bytes, after the remainder of the previous ones.
    fn on_bytes(&mut self, index: usize, bytes: &[u8], arrived: u64) {
        let mut kept = std::mem::take(&mut self.connections[index].rest);
        let whole = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        match parse_input(self.connections[index].stage, whole, |input| {
            self.on_input(index, input, arrived)
        }) {
            Ok(used) if self.connections[index].stage != ConnectionStage::Closed => {
                self.connections[index].rest = whole[used..].to_vec();
            }
            Ok(_) => {}
            Err(why) => self.fail(index, &why),
        }
    }

    fn on_input(&mut self, index: usize, input: ParsedInput<'_>, arrived: u64) {
        match input {
            ParsedInput::Upgraded => self.on_upgraded(index),
            ParsedInput::Frame(ServerFrame::Data(payload)) => self.on_data(index, payload, arrived),
            ParsedInput::Frame(ServerFrame::Ping(payload)) => self.send(index, 0xA, payload),
            ParsedInput::Frame(ServerFrame::Close(code)) => {
                self.fail(index, &format!("close frame {code}"))
            }
            ParsedInput::Frame(ServerFrame::Other) => {}
        }
    }

    fn on_upgraded(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.stage = ConnectionStage::Open;
        self.handshakes.add(now_ns() - connection.connect_began_ns);
        (self.in_flight, self.open) = (self.in_flight - 1, self.open + 1);
        let (channel, group) = (connection.channel as usize, usize::from(connection.group));
        if self.plan.groups[group].stalled {
            // The connection will never be read, so its snapshot will never be seen.
            connection.has_snapshot = true;
            self.snapshots += 1;
        }
        if let Some(message) = &self.plan.subscribe {
            let message = message
                .replace("{ch}", &channel.to_string())
                .replace("{subscribe}", &keys::subscribe(channel));
            self.send(index, 0x1, message.as_bytes());
        }
    }

    fn on_data(&mut self, index: usize, payload: &[u8], arrived: u64) {
        let connection = &mut self.connections[index];
        let version = if connection.has_snapshot && !self.counters.is_counting() {
            None
        } else {
            frames::version(payload)
        };
        let is_snapshot = || match &self.plan.welcome {
            Some(text) => frames::contains(payload, text),
            None => version.is_some(),
        };
        if !connection.has_snapshot && is_snapshot() {
            connection.has_snapshot = true;
            self.snapshots += 1;
        }
        if self.counters.is_counting() {
            connection.frames += 1;
            self.counters.frame(
                connection.group,
                connection.channel,
                payload,
                version,
                arrived,
            );
        }
    }

    fn send(&mut self, index: usize, opcode: u8, payload: &[u8]) {
        if let Some(mut socket) = self.connections[index].socket.as_ref() {
            // A failed send shows up later as a closed connection.
            let _ = socket.write(&frames::masked(opcode, payload));
        }
    }
}
