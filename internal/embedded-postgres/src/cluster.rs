//! The public handle of a private PostgreSQL cluster.

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

/// A private PostgreSQL cluster. The server stops when this is dropped, and also when this process
/// dies.
#[derive(Debug)]
pub struct Cluster {
    server: Option<Server>,
    // Set by `pause`, read when the server is stopped: a frozen server reacts to no signal but
    // KILL.
    paused: AtomicBool,
    watchdog: Watchdog,
    binaries: Binaries,
    account: Account,
    port: u16,
    tcp: bool,
    found: String,
    // Declared after the server and the watchdog, so dropped last: it deletes files that they use.
    place: Place,
}

impl Cluster {
    /// Finds a server, prepares its data, starts it, and returns when it accepts connections.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no server, if another process uses the data, and in all other
    /// cases that [`EmbeddedError`] lists.
    pub fn start(settings: &Settings) -> Result<Self, EmbeddedError> {
        settings.check()?;
        let os_user = Account::current()?;
        let (binaries, data_dir) = Place::prepare(settings, &os_user)?;
        let port = match settings.tcp_port {
            None => socket::PORT,
            Some(0) => free_port()?,
            Some(port) => port,
        };
        let mut cluster = Self {
            server: None,
            paused: AtomicBool::new(false),
            watchdog: data_dir.watch()?,
            found: binaries.sentence(),
            binaries,
            account: os_user,
            port,
            tcp: settings.tcp_port.is_some(),
            place: data_dir,
        };
        cluster.boot()?;
        Ok(cluster)
    }

    /// Returns the URL of a database through the Unix socket. tokio-postgres, libpq and psql all
    /// accept it. The database `postgres` always exists.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        socket::url(&self.place.socket, self.port, database)
    }

    /// Returns the URL of a database through TCP, or `None` if the settings did not ask for TCP.
    #[must_use]
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        self.tcp.then(|| socket::tcp_url(self.port, database))
    }

    /// Returns one sentence with the server's version and the place where it was found.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }

    /// Returns the server's major version, which decides the SQL that it supports.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.binaries.major()
    }

    /// Returns the path of the data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.place.data
    }

    /// Returns the directory of the Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.place.socket
    }

    /// Returns the path of the server's log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.place.log
    }

    /// Returns the pid of the server, or `None` after [`kill`](Self::kill).
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// Stops the server. Persistent data is checkpointed; a temporary cluster is deleted.
    ///
    /// # Errors
    ///
    /// Returns an error if the operating system does not let us wait for the server.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        self.halt()
    }

    /// Kills the server and its backends without warning, like a power cut. The data stays for
    /// [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// Returns an error if the operating system does not let us wait for the server.
    pub fn kill(&mut self) -> Result<(), EmbeddedError> {
        if let Some(server) = self.server.take() {
            server.kill()?;
        }
        self.paused.store(false, Ordering::SeqCst);
        self.watchdog.guard(None)
    }

    /// Starts the server again, with the same socket and port. Stops it first if it runs.
    ///
    /// # Errors
    ///
    /// The same errors as [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), EmbeddedError> {
        self.halt()?;
        self.watchdog.guard(None)?;
        self.boot()
    }

    /// Freezes the server and its backends: connections stay open, but nothing responds.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        self.server.iter().for_each(Server::pause);
    }

    /// Resumes a server that was frozen by `pause`.
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

    /// Stops the server but keeps the watchdog: this process may be killed while the server is
    /// still shutting down.
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
        // A server that stopped normally has no pid file any more. Persistent data will be started
        // on again, and that start cleans up.
        if !self.place.kept {
            orphan::forget(&self.place.data);
        }
    }
}

/// Returns a TCP port that was free a moment ago. The server refuses to start if it no longer is.
fn free_port() -> Result<u16, EmbeddedError> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .doing(|| "looking for a free port".into())
}
