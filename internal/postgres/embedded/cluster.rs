//! The cluster as its owner sees it.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use super::account::Account;
use super::binaries::Binaries;
use super::error::Doing;
use super::server::{Launch, Server};
use super::storage::Place;
use super::watchdog::Watchdog;
use super::{EmbeddedError, Settings, orphan, socket};

/// A private PostgreSQL. Dropping it stops it; dying stops it too.
#[derive(Debug)]
pub struct Cluster {
    server: Option<Server>,
    // Set by whoever pauses, read by whoever stops: a frozen server hears no signal but KILL.
    paused: AtomicBool,
    watchdog: Watchdog,
    binaries: Binaries,
    account: Account,
    port: u16,
    tcp: bool,
    found: String,
    // After the server and the watchdog: what it deletes must be out of use.
    place: Place,
}

impl Cluster {
    /// Finds a server, prepares its data, starts it, and returns when it accepts connections.
    ///
    /// # Errors
    ///
    /// No server anywhere, data that another process uses, or whatever else [`EmbeddedError`] lists.
    pub fn start(settings: &Settings) -> Result<Self, EmbeddedError> {
        settings.check()?;
        let account = Account::current()?;
        let (binaries, place) = Place::prepare(settings, &account)?;
        let port = match settings.tcp_port {
            None => socket::PORT,
            Some(0) => free_port()?,
            Some(port) => port,
        };
        let mut cluster = Self {
            server: None,
            paused: AtomicBool::new(false),
            watchdog: place.watch()?,
            found: binaries.sentence(),
            binaries,
            account,
            port,
            tcp: settings.tcp_port.is_some(),
            place,
        };
        cluster.boot()?;
        Ok(cluster)
    }

    /// The URL of a database, through the socket; for tokio-postgres, libpq and psql alike. `postgres` always exists.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        socket::url(&self.place.socket, self.port, database)
    }

    /// The URL of a database through TCP, if the settings asked for it.
    #[must_use]
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        self.tcp.then(|| socket::tcp_url(self.port, database))
    }

    /// One sentence: the version, and which link of the chain it came from.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }

    /// The major version, which tells what SQL it knows.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.binaries.major()
    }

    /// Where the data is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.place.data
    }

    /// The folder of the socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.place.socket
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.place.log
    }

    /// The server's process; none after [`kill`](Self::kill).
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// Stops the server: kept data is checkpointed, a temporary cluster is deleted.
    ///
    /// # Errors
    ///
    /// The system would not let us wait for the server.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        self.halt()
    }

    /// Kills the server and its backends without warning, as a power cut would; the data stays for
    /// [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// The system would not let us wait for the server.
    pub fn kill(&mut self) -> Result<(), EmbeddedError> {
        if let Some(server) = self.server.take() {
            server.kill()?;
        }
        self.paused.store(false, Ordering::SeqCst);
        self.watchdog.guard(None)
    }

    /// Starts the server again, with the same socket and port; stops it first if it runs.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), EmbeddedError> {
        self.halt()?;
        self.watchdog.guard(None)?;
        self.boot()
    }

    /// Freezes the server and its backends: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        self.server.iter().for_each(Server::pause);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.server.iter().for_each(Server::resume);
        self.paused.store(false, Ordering::SeqCst);
    }

    fn boot(&mut self) -> Result<(), EmbeddedError> {
        orphan::clear(&self.place.data)?;
        socket::clear(&self.place.socket, self.port);
        let launch = Launch {
            binaries: &self.binaries,
            account: &self.account,
            data: self.place.data.clone(),
            log: self.place.log.clone(),
            socket: self.place.socket.clone(),
            port: self.port,
            tcp: self.tcp,
            durable: self.place.kept,
        };
        self.server = Some(Server::start(&launch, &mut self.watchdog)?);
        Ok(())
    }

    /// The watchdog guards to the end: we may be killed while the server takes its time.
    fn halt(&mut self) -> Result<(), EmbeddedError> {
        if self.paused.load(Ordering::SeqCst) {
            self.resume();
        }
        // Data that is about to be deleted needs no checkpoint.
        let signal = if self.place.kept {
            Signal::INT
        } else {
            Signal::QUIT
        };
        self.server
            .take()
            .map_or(Ok(()), |server| server.stop(signal))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.halt() {
            tracing::warn!(%error, "stopping the private PostgreSQL");
        }
        // A server that ended well has no pid file any more, and kept data is started on again.
        if !self.place.kept {
            orphan::forget(&self.place.data);
        }
    }
}

/// A port that was free a moment ago; the server refuses to start if it no longer is.
fn free_port() -> Result<u16, EmbeddedError> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .doing(|| "looking for a free port".into())
}
