//! The real `latido`, as a process of its own.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::campaign::await_some;
use crate::process::Process;
use crate::store::Database;
use crate::{keys, machine, web};

/// The binary that cargo built for this run.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_latido");

/// How to start a server.
#[derive(Debug, Clone)]
pub(crate) struct Settings<'a> {
    /// Where its database is.
    pub(crate) database: &'a Database,
    /// Where it runs; none: anywhere.
    pub(crate) core: Option<usize>,
    /// Where it listens; none: a free port.
    pub(crate) port: Option<u16>,
    /// Further variables, over the ones below.
    pub(crate) variables: &'a [(&'a str, &'a str)],
}

impl<'a> Settings<'a> {
    /// One shard on the servers' core.
    pub(crate) fn new(database: &'a Database) -> Self {
        Self {
            database,
            core: Some(machine::SERVER_CORE),
            port: None,
            variables: &[],
        }
    }
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub(crate) struct Latido {
    /// Its process, for CPU and memory.
    pub(crate) process: Process,
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
    /// From its start to `/ready` saying yes.
    pub(crate) ready_after: Duration,
}

impl Latido {
    /// Installs the triggers, starts a server, and waits until it is ready.
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Self> {
        install(settings)?;
        Self::start_installed(settings)
    }

    /// The same on a database whose triggers stand, or are not wanted.
    pub(crate) fn start_installed(settings: &Settings) -> anyhow::Result<Self> {
        let port = settings.port.map_or_else(web::free_port, Ok)?;
        let began = Instant::now();
        let mut process = Process::spawn(
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
            // Whoever subscribes awaits the rest.
            true => TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .ok()
                .map(drop),
            false => web::get(port, "/ready")
                .ok()
                .filter(|(status, _)| *status == 200)
                .map(drop),
        };
        await_some(Duration::from_secs(20), "latido ready", ready)?;
        Ok(Self {
            process,
            port,
            ready_after: began.elapsed(),
        })
    }

    /// A metric summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> anyhow::Result<f64> {
        Ok(web::metric(&self.metrics()?, name))
    }

    /// All metrics.
    pub(crate) fn metrics(&self) -> anyhow::Result<String> {
        let (status, text) = web::get(self.port, "/metrics")?;
        ensure!(status == 200, "/metrics answered {status}");
        Ok(text)
    }
}

/// `latido install` with the settings' variables.
pub(crate) fn install(settings: &Settings) -> anyhow::Result<()> {
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

fn command(settings: &Settings) -> Command {
    let mut command = Command::new(BINARY);
    // Whatever is set where the benchmark was started is no business of the server's.
    command.env_clear().current_dir(std::env::temp_dir());
    command
        .env("DATABASE_URL", &settings.database.url)
        .env("JWT_SECRET", keys::SECRET);
    command
        .env("HOST", "127.0.0.1")
        .env("TIMEZONE", "UTC")
        .env("SHARDS", "1")
        .env("RUST_LOG", "warn");
    // The figures are of the first read, not of a pause between reads.
    command.env("READ_INTERVAL_MS", "0");
    command.envs(settings.variables.iter().copied());
    command
}
