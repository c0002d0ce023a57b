//! The plan of a load, the commands to its process, and the counts that it returns.

use serde::{Deserialize, Serialize};

use crate::machine;
use crate::process::BenchProcess;

/// The target of the connections, and the number of each kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LoadPlan {
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
    /// The path and query. `{ch}` is the channel number, `{token}` the token of the connection.
    pub(crate) path: String,
    /// The message after the upgrade. `{ch}` is the channel number, `{subscribe}` Latido's whole
    /// message.
    pub(crate) subscribe: Option<String>,
    /// True if a connection counts as open only after its first snapshot.
    pub(crate) await_snapshot: bool,
    /// The text in the frame that counts as the first snapshot. Without it, that is the first frame
    /// with a version.
    pub(crate) welcome: Option<String>,
    /// The process whose CPU time is measured.
    pub(crate) server: Option<u32>,
    /// The maximum number of concurrent handshakes.
    pub(crate) window: usize,
    /// True if connections end by a reset instead of a close frame.
    pub(crate) resets: bool,
    /// True if this process yields to all others on a full core, because its clients stand for
    /// other machines.
    pub(crate) recedes: bool,
    /// The groups, in the order of the connection numbers.
    pub(crate) groups: Vec<ConnectionGroup>,
}

/// A group of connections of the same kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ConnectionGroup {
    /// The number of connections in the group.
    pub(crate) connections: usize,
    /// The number of the first watched channel.
    pub(crate) first: usize,
    /// The number of channels over which the connections are spread in turn.
    pub(crate) channels: usize,
    /// True if the connections never read.
    pub(crate) stalled: bool,
}

impl ConnectionGroup {
    /// Creates a group that is spread over channels 0 to `channels` - 1.
    pub(crate) fn new(connections: usize, channels: usize) -> Self {
        Self {
            connections,
            first: 0,
            channels,
            stalled: false,
        }
    }

    /// Returns the same group, starting at another channel.
    pub(crate) fn starting_at(self, first: usize) -> Self {
        Self { first, ..self }
    }
}

impl LoadPlan {
    /// Creates a plan for Latido: each client has a token, subscribes, and waits for the snapshot.
    pub(crate) fn for_latido(port: u16, server: u32, groups: Vec<ConnectionGroup>) -> Self {
        Self {
            port,
            path: "/ws?token={token}".into(),
            subscribe: Some("{subscribe}".into()),
            await_snapshot: true,
            welcome: None,
            server: Some(server),
            window: 128,
            resets: false,
            recedes: false,
            groups,
        }
    }

    /// Creates a plan for the floor or a peer, whose path names the channel.
    pub(crate) fn for_plain_server(port: u16, server: u32, groups: Vec<ConnectionGroup>) -> Self {
        let path = "/ws/{ch}".to_owned();
        Self {
            port,
            path,
            subscribe: None,
            await_snapshot: false,
            welcome: None,
            server: Some(server),
            window: 128,
            resets: false,
            recedes: false,
            groups,
        }
    }
}

/// A command line to the clients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum LoadCommand {
    /// Opens all connections. The response is [`Opened`].
    Open,
    /// Waits while time passes. The response is [`Opened`] with the open connections.
    Rest { seconds: f64 },
    /// Counts frames after a warm-up. The response is [`Counted`]. With `patient`, arrivals are
    /// read once no more come, so that the clients take no processor time from a sending server.
    Count {
        warmup: f64,
        seconds: f64,
        patient: bool,
    },
    /// Waits until the server has closed all connections, then opens all at once. The response is
    /// [`Opened`], measured from the first accepted connection.
    Storm,
    /// Sends a close frame on every connection and waits until the server has ended them all, or
    /// resets them all. The response is [`Opened`].
    Close,
}

/// The result of opening connections.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// The number of open connections.
    pub(crate) open: usize,
    /// The number of connections that the server closed or that never opened.
    pub(crate) lost: usize,
    /// The time from the first connect to the last upgrade (and snapshot, if awaited).
    pub(crate) seconds: f64,
    /// The server's processor time during the opening.
    pub(crate) server_cpu_ns: u64,
    /// The time from connect to the 101 response, in milliseconds.
    pub(crate) handshake_ms: Quantiles,
    /// The first error that occurred.
    pub(crate) trouble: Option<String>,
}

/// The result of counting frames.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// The length of the measurement, in seconds.
    pub(crate) seconds: f64,
    /// The data frames of all groups.
    pub(crate) frames: u64,
    /// The payload bytes of these frames.
    pub(crate) bytes: u64,
    /// The server's processor time, in nanoseconds.
    pub(crate) server_cpu_ns: u64,
    /// The server's resident memory at the end, in bytes.
    pub(crate) server_rss: u64,
    /// The clients' own processor time, in nanoseconds.
    pub(crate) client_cpu_ns: u64,
    /// The number of connections that the server has closed so far.
    pub(crate) lost: usize,
    /// The frames of the reading connection with the fewest and of the one with the most.
    pub(crate) least: u64,
    pub(crate) most: u64,
    /// The delays of each group.
    pub(crate) groups: Vec<Delays>,
    /// The first error that occurred.
    pub(crate) trouble: Option<String>,
}

/// The delays of one group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Delays {
    /// The time from the payload's stamp to the arrival; zero without a stamp.
    pub(crate) delay_ms: Quantiles,
    /// The time from the first arrival of a broadcast to each arrival.
    pub(crate) spread_ms: Quantiles,
}

/// The quantiles of a distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) most: f64,
    /// The number of measured values.
    pub(crate) of: u64,
}

impl Opened {
    /// Returns the server's processor time per connection, in µs.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.server_cpu_ns as f64 / 1e3 / self.open.max(1) as f64
    }
}

impl Counted {
    /// Returns the server's processor time per frame, in µs.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.server_cpu_ns as f64 / 1e3 / self.frames.max(1) as f64
    }

    /// Returns the frames per second.
    pub(crate) fn rate(&self) -> f64 {
        self.frames as f64 / self.seconds
    }
}

/// The handle with which a scenario controls the clients.
#[derive(Debug)]
pub(crate) struct LoadProcess {
    pub(super) process: BenchProcess,
}

impl LoadProcess {
    /// Starts the process on the load's core, without connecting.
    pub(crate) fn start(plan: &LoadPlan) -> anyhow::Result<Self> {
        Self::start_on(Some(machine::LOAD_CORE), plan)
    }

    fn start_on(core: Option<usize>, plan: &LoadPlan) -> anyhow::Result<Self> {
        Ok(Self {
            process: BenchProcess::spawn_role("load", core, plan)?,
        })
    }

    /// Starts the process and opens everything. Fails if not all are open at the end.
    pub(crate) fn open(plan: &LoadPlan) -> anyhow::Result<(Self, Opened)> {
        let mut load = Self::start(plan)?;
        let opened = load.open_all()?;
        Ok((load, opened))
    }

    /// Starts and opens without pinning the process, for servers that use all cores.
    pub(crate) fn open_anywhere(plan: &LoadPlan) -> anyhow::Result<(Self, Opened)> {
        let mut load = Self::start_on(None, plan)?;
        let opened = load.open_all()?;
        Ok((load, opened))
    }

    /// Opens everything. Fails if not all are open at the end.
    pub(crate) fn open_all(&mut self) -> anyhow::Result<Opened> {
        let opened: Opened = self.request(LoadCommand::Open)?;
        let trouble = opened.trouble.as_deref().unwrap_or("timed out");
        anyhow::ensure!(
            opened.lost == 0,
            "{} of {} connections: {trouble}",
            opened.lost,
            opened.lost + opened.open
        );
        Ok(opened)
    }

    /// Waits while time passes and returns the open connections.
    pub(crate) fn rest(&mut self, seconds: f64) -> anyhow::Result<Opened> {
        self.request(LoadCommand::Rest { seconds })
    }

    /// Counts frames while sweeping on a timer.
    pub(crate) fn count(&mut self, warmup: f64, seconds: f64) -> anyhow::Result<Counted> {
        self.request(LoadCommand::Count {
            warmup,
            seconds,
            patient: false,
        })
    }

    /// Counts frames of broadcasts with pauses between them, by clients that read in the pauses.
    pub(crate) fn count_in_pauses(&mut self, warmup: f64, seconds: f64) -> anyhow::Result<Counted> {
        self.request(LoadCommand::Count {
            warmup,
            seconds,
            patient: true,
        })
    }

    /// Sends a command whose response is read with [`LoadProcess::finished`].
    pub(crate) fn send(&mut self, order: LoadCommand) -> anyhow::Result<()> {
        self.process.send_line(&serde_json::to_string(&order)?)
    }

    /// Waits for the response to a command that was sent.
    pub(crate) fn finished<T: serde::de::DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        self.process.read_json()
    }

    /// Kills the process at once, and with it every connection.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    fn request<T: serde::de::DeserializeOwned>(&mut self, order: LoadCommand) -> anyhow::Result<T> {
        self.send(order)?;
        self.finished()
    }
}
