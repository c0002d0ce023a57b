//! The real `latido` server as a child process.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::cluster::BenchDatabase;
use crate::process::BenchProcess;
use crate::runner::poll_until;
use crate::{keys, machine, web};

/// The path of the binary that cargo built for this run.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_latido");

/// The settings of a server to start.
#[derive(Debug, Clone)]
pub(crate) struct LatidoSettings<'a> {
    /// The database that the server uses.
    pub(crate) database: &'a BenchDatabase,
    /// The core of the server, or `None` for any core.
    pub(crate) core: Option<usize>,
    /// The port of the server, or `None` for a free port.
    pub(crate) port: Option<u16>,
    /// Additional variables, which override the defaults below.
    pub(crate) variables: &'a [(&'a str, &'a str)],
}

impl<'a> LatidoSettings<'a> {
    /// Settings for one shard on the servers' core.
    pub(crate) fn new(database: &'a BenchDatabase) -> Self {
        Self {
            database,
            core: Some(machine::SERVER_CORE),
            port: None,
            variables: &[],
        }
    }
}

/// A running server, which stops when dropped.
#[derive(Debug)]
pub(crate) struct LatidoServer {
    /// The server process, for CPU and memory measurements.
    pub(crate) process: BenchProcess,
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
    /// The time from the start until `/ready` answers 200.
    pub(crate) ready_after: Duration,
}

impl LatidoServer {
    /// Installs the triggers, starts a server, and waits until it is ready.
    pub(crate) fn start(settings: &LatidoSettings) -> anyhow::Result<Self> {
        install(settings)?;
        Self::start_installed(settings)
    }

    /// Starts a server on a database with installed triggers, or on one that needs none.
    pub(crate) fn start_installed(settings: &LatidoSettings) -> anyhow::Result<Self> {
        let port = settings.port.map_or_else(web::free_port, Ok)?;
        let began = Instant::now();
        let mut process = BenchProcess::spawn(
            "latido",
            settings.core,
            command(settings).env("PORT", port.to_string()),
        )?;
        process.drain_output();
        let is_secure = settings
            .variables
            .iter()
            .any(|(name, _)| *name == "TLS_CERT");
        let ready = || match is_secure {
            // With TLS only the port is checked; the subscriber waits for the rest.
            true => TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .ok()
                .map(drop),
            false => web::get(port, "/ready")
                .ok()
                .filter(|(status, _)| *status == 200)
                .map(drop),
        };
        poll_until(Duration::from_secs(20), "latido ready", ready)?;
        Ok(Self {
            process,
            port,
            ready_after: began.elapsed(),
        })
    }

    /// Returns a metric, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> anyhow::Result<f64> {
        Ok(web::metric(&self.metrics()?, name))
    }

    /// Returns the text of all metrics.
    pub(crate) fn metrics(&self) -> anyhow::Result<String> {
        let (status, text) = web::get(self.port, "/metrics")?;
        ensure!(status == 200, "/metrics answered {status}");
        Ok(text)
    }
}

/// Runs `latido install` with the variables of the settings.
pub(crate) fn install(settings: &LatidoSettings) -> anyhow::Result<()> {
    let output = command(settings)
        .arg("install")
        .output()
        .context("starting latido install")?;
    ensure!(
        output.status.success(),
        "latido install: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn command(settings: &LatidoSettings) -> Command {
    let mut command = Command::new(BINARY);
    // The environment of the benchmark must not influence the server.
    command.env_clear().current_dir(std::env::temp_dir());
    command
        .env("DATABASE_URL", &settings.database.url)
        .env("JWT_SECRET", keys::SECRET);
    command
        .env("HOST", "127.0.0.1")
        .env("TIMEZONE", "UTC")
        .env("SHARDS", "1")
        .env("RUST_LOG", "warn");
    // The figures are about the first read, not about a pause between reads.
    command.env("READ_INTERVAL_MS", "0");
    command.envs(settings.variables.iter().copied());
    command
}
