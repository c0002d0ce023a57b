//! The clients: one process, one thread, one epoll, thousands of WebSockets, frames read by hand.
//!
//! It is told what to do line by line and answers each line with one, so that a scenario can do something to the server in between; its
//! sockets are read meanwhile. Arrivals are stamped by the kernel, so a client that is busy measures no delay of its own. While it counts,
//! sockets are swept on a timer, so that the server does not pay for waking this process at every frame; in both it does what
//! thousands of browsers elsewhere would do, which wake nobody here.

mod breath;
mod connection;
mod crowd;
mod frames;
mod histogram;
mod orders;
mod socket;
mod tally;

use serde::{Deserialize, Serialize};

use crate::machine;
use crate::process::Process;

pub(crate) use crowd::play;
pub(crate) use frames::masked;

/// Whom to connect to, and how many of which kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// On 127.0.0.1.
    pub(crate) port: u16,
    /// Path and query; `{ch}` is the channel's number, `{token}` the connection's token.
    pub(crate) path: String,
    /// Sent after the upgrade; `{ch}`, and `{subscribe}` for Latido's whole message.
    pub(crate) subscribe: Option<String>,
    /// Whether a connection counts as opened only once its first snapshot is there.
    pub(crate) await_snapshot: bool,
    /// The process whose CPU is accounted.
    pub(crate) server: Option<u32>,
    /// Handshakes in flight at once.
    pub(crate) window: usize,
    /// Whether connections end by a reset, and not by a close frame.
    pub(crate) resets: bool,
    /// Whether everybody else goes before this process where a core is full: its clients stand for machines elsewhere.
    pub(crate) recedes: bool,
    /// In the order of the connections' numbers.
    pub(crate) groups: Vec<Group>,
}

/// Connections that are alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    /// How many.
    pub(crate) connections: usize,
    /// Number of the first channel they watch.
    pub(crate) first: usize,
    /// Over how many channels they are spread, in turn.
    pub(crate) channels: usize,
    /// Whether they never read.
    pub(crate) stalled: bool,
}

impl Group {
    /// So many connections, spread over channels 0 to `channels` - 1.
    pub(crate) fn new(connections: usize, channels: usize) -> Self {
        Self {
            connections,
            first: 0,
            channels,
            stalled: false,
        }
    }

    /// The same from another channel on.
    pub(crate) fn from(self, first: usize) -> Self {
        Self { first, ..self }
    }
}

impl Plan {
    /// Clients of Latido with a token each; they subscribe, and wait for the snapshot.
    pub(crate) fn latido(port: u16, server: u32, groups: Vec<Group>) -> Self {
        Self {
            port,
            path: "/ws?token={token}".into(),
            subscribe: Some("{subscribe}".into()),
            await_snapshot: true,
            server: Some(server),
            window: 128,
            resets: false,
            recedes: false,
            groups,
        }
    }

    /// Clients of the floor or a peer, where the path says what is watched.
    pub(crate) fn plain(port: u16, server: u32, groups: Vec<Group>) -> Self {
        let path = "/ws/{ch}".to_owned();
        Self {
            port,
            path,
            subscribe: None,
            await_snapshot: false,
            server: Some(server),
            window: 128,
            resets: false,
            recedes: false,
            groups,
        }
    }
}

/// A line to the clients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Open all. Answered by [`Opened`].
    Open,
    /// Let time pass. Answered by [`Opened`] with what is open.
    Rest { seconds: f64 },
    /// Count frames after a warm-up. Answered by [`Counted`]. `patient`: what arrives is read once nothing more does, so that the clients take
    /// no processor from a server that is sending.
    Count {
        warmup: f64,
        seconds: f64,
        patient: bool,
    },
    /// Wait until the server has let everyone go, then open all at once. Answered by [`Opened`], measured from the first connection
    /// that was accepted.
    Storm,
    /// Send a close frame on every connection, then wait until the server has ended them all; or reset them all. Answered by [`Opened`].
    Close,
}

/// What opening took.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// Open now.
    pub(crate) open: usize,
    /// Closed by the server so far, or never opened.
    pub(crate) lost: usize,
    /// From the first connect to the last upgrade (and snapshot, where awaited).
    pub(crate) seconds: f64,
    /// The server's processor time meanwhile.
    pub(crate) server_cpu_ns: u64,
    /// From connect to 101, milliseconds.
    pub(crate) handshake_ms: Quantiles,
    /// The first thing that went wrong.
    pub(crate) trouble: Option<String>,
}

/// What was counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Length of the measurement.
    pub(crate) seconds: f64,
    /// Data frames of all groups.
    pub(crate) frames: u64,
    /// Their payload.
    pub(crate) bytes: u64,
    /// The server's processor time.
    pub(crate) server_cpu_ns: u64,
    /// The server's resident memory at the end.
    pub(crate) server_rss: u64,
    /// The clients' own processor time.
    pub(crate) client_cpu_ns: u64,
    /// Connections that the server closed, ever.
    pub(crate) lost: usize,
    /// Frames of the reading connection that got fewest, and of the one that got most.
    pub(crate) least: u64,
    pub(crate) most: u64,
    /// By group.
    pub(crate) groups: Vec<Delays>,
    /// The first thing that went wrong.
    pub(crate) trouble: Option<String>,
}

/// Delays of one group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Delays {
    /// From the stamp in the payload to the arrival; zeros without a stamp.
    pub(crate) delay_ms: Quantiles,
    /// From a broadcast's first arrival anywhere to each arrival.
    pub(crate) spread_ms: Quantiles,
}

/// Of a distribution.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) most: f64,
    /// Of how many.
    pub(crate) of: u64,
}

impl Opened {
    /// The server's processor time a connection, in µs.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.server_cpu_ns as f64 / 1e3 / self.open.max(1) as f64
    }
}

impl Counted {
    /// The server's processor time a frame, in µs.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.server_cpu_ns as f64 / 1e3 / self.frames.max(1) as f64
    }

    /// Frames a second.
    pub(crate) fn rate(&self) -> f64 {
        self.frames as f64 / self.seconds
    }
}

/// The scenario's hand on the clients.
#[derive(Debug)]
pub(crate) struct Load {
    process: Process,
}

impl Load {
    /// Starts the process on the load's core; nothing is connected yet.
    pub(crate) fn start(plan: &Plan) -> anyhow::Result<Self> {
        Self::start_on(Some(machine::LOAD_CORE), plan)
    }

    fn start_on(core: Option<usize>, plan: &Plan) -> anyhow::Result<Self> {
        Ok(Self {
            process: Process::role("load", core, plan)?,
        })
    }

    /// Starts it and opens everything; an error if not all are open at the end.
    pub(crate) fn open(plan: &Plan) -> anyhow::Result<(Self, Opened)> {
        let mut load = Self::start(plan)?;
        let opened = load.all_open()?;
        Ok((load, opened))
    }

    /// The same without a core of its own, for servers that use all of them.
    pub(crate) fn open_anywhere(plan: &Plan) -> anyhow::Result<(Self, Opened)> {
        let mut load = Self::start_on(None, plan)?;
        let opened = load.all_open()?;
        Ok((load, opened))
    }

    /// Opens everything; an error if not all are open at the end.
    pub(crate) fn all_open(&mut self) -> anyhow::Result<Opened> {
        let opened: Opened = self.order(Order::Open)?;
        let trouble = opened.trouble.as_deref().unwrap_or("timed out");
        anyhow::ensure!(
            opened.lost == 0,
            "{} of {} connections: {trouble}",
            opened.lost,
            opened.lost + opened.open
        );
        Ok(opened)
    }

    /// Lets time pass.
    pub(crate) fn rest(&mut self, seconds: f64) -> anyhow::Result<Opened> {
        self.order(Order::Rest { seconds })
    }

    /// Counts frames.
    pub(crate) fn count(&mut self, warmup: f64, seconds: f64) -> anyhow::Result<Counted> {
        self.order(Order::Count {
            warmup,
            seconds,
            patient: false,
        })
    }

    /// The same of broadcasts with pauses between them, by clients that read in the pauses.
    pub(crate) fn count_in_pauses(&mut self, warmup: f64, seconds: f64) -> anyhow::Result<Counted> {
        self.order(Order::Count {
            warmup,
            seconds,
            patient: true,
        })
    }

    /// Gives an order whose answer is taken with [`Load::finished`].
    pub(crate) fn tell(&mut self, order: Order) -> anyhow::Result<()> {
        self.process.tell(&serde_json::to_string(&order)?)
    }

    /// Waits for the answer to an order that was told.
    pub(crate) fn finished<T: serde::de::DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        self.process.answer()
    }

    /// Ends the process at once, and every connection with it.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    fn order<T: serde::de::DeserializeOwned>(&mut self, order: Order) -> anyhow::Result<T> {
        self.tell(order)?;
        self.finished()
    }
}
