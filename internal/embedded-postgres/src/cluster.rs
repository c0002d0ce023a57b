//! The public handle of a private PostgreSQL cluster.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use super::binaries::ServerBinaries;
use super::data_dir::DataDir;
use super::error::ErrorContext;
use super::os_user::OsUser;
use super::server::{LaunchOptions, ServerProcess};
use super::watchdog::Watchdog;
use super::{EmbeddedError, EmbeddedSettings, socket_dir, stale_server};

/// A private PostgreSQL cluster. The server stops when this is dropped, and also when this process
/// dies.
#[derive(Debug)]
pub struct Cluster {
    server: Option<ServerProcess>,
    // Set by `pause`, read when the server is stopped: a frozen server reacts to no signal but
    // KILL.
    is_paused: AtomicBool,
    watchdog: Watchdog,
    binaries: ServerBinaries,
    os_user: OsUser,
    port: u16,
    has_tcp: bool,
    server_description: String,
    // Declared after the server and the watchdog, so dropped last: it deletes files that they use.
    data_dir: DataDir,
}

impl Cluster {
    /// Finds a server, prepares its data, starts it, and returns when it accepts connections.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no server, if another process uses the data, and in all other
    /// cases that [`EmbeddedError`] lists.
    pub fn start(settings: &EmbeddedSettings) -> Result<Self, EmbeddedError> {
        settings.validate()?;
        let os_user = OsUser::current()?;
        let (binaries, data_dir) = DataDir::prepare(settings, &os_user)?;
        let port = match settings.tcp_port {
            None => socket_dir::SOCKET_PORT,
            Some(0) => free_port()?,
            Some(port) => port,
        };
        let mut cluster = Self {
            server: None,
            is_paused: AtomicBool::new(false),
            watchdog: data_dir.spawn_watchdog()?,
            server_description: binaries.description(),
            binaries,
            os_user,
            port,
            has_tcp: settings.tcp_port.is_some(),
            data_dir,
        };
        cluster.start_server()?;
        Ok(cluster)
    }

    /// Returns the URL of a database through the Unix socket. tokio-postgres, libpq and psql all
    /// accept it. The database `postgres` always exists.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        socket_dir::url(&self.data_dir.socket_dir, self.port, database)
    }

    /// Returns the URL of a database through TCP, or `None` if the settings did not ask for TCP.
    #[must_use]
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        self.has_tcp
            .then(|| socket_dir::tcp_url(self.port, database))
    }

    /// Returns one sentence with the server's version and the place where it was found.
    #[must_use]
    pub fn server_description(&self) -> &str {
        &self.server_description
    }

    /// Returns the server's major version, which decides the SQL that it supports.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.binaries.major()
    }

    /// Returns the path of the data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir.path
    }

    /// Returns the directory of the Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.data_dir.socket_dir
    }

    /// Returns the path of the server's log file.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.data_dir.log_path
    }

    /// Returns the pid of the server, or `None` after [`kill`](Self::kill).
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(ServerProcess::pid)
    }

    /// Stops the server. Persistent data is checkpointed; a temporary cluster is deleted.
    ///
    /// # Errors
    ///
    /// Returns an error if the operating system does not let us wait for the server.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        self.stop_server()
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
        self.is_paused.store(false, Ordering::SeqCst);
        self.watchdog.set_server_pid(None)
    }

    /// Starts the server again, with the same socket and port. Stops it first if it runs.
    ///
    /// # Errors
    ///
    /// The same errors as [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), EmbeddedError> {
        self.stop_server()?;
        self.watchdog.set_server_pid(None)?;
        self.start_server()
    }

    /// Freezes the server and its backends: connections stay open, but nothing responds.
    pub fn pause(&self) {
        self.is_paused.store(true, Ordering::SeqCst);
        self.server.iter().for_each(ServerProcess::pause);
    }

    /// Resumes a server that was frozen by `pause`.
    pub fn resume(&self) {
        self.server.iter().for_each(ServerProcess::resume);
        self.is_paused.store(false, Ordering::SeqCst);
    }

    fn start_server(&mut self) -> Result<(), EmbeddedError> {
        stale_server::clean_up(&self.data_dir.path)?;
        socket_dir::remove_stale_sockets(&self.data_dir.socket_dir, self.port);
        let launch = LaunchOptions {
            binaries: &self.binaries,
            os_user: &self.os_user,
            data_dir: self.data_dir.path.clone(),
            log_path: self.data_dir.log_path.clone(),
            socket_dir: self.data_dir.socket_dir.clone(),
            port: self.port,
            has_tcp: self.has_tcp,
            is_durable: self.data_dir.is_persistent,
        };
        self.server = Some(ServerProcess::start(&launch, &mut self.watchdog)?);
        Ok(())
    }

    /// Stops the server but keeps the watchdog: this process may be killed while the server is
    /// still shutting down.
    fn stop_server(&mut self) -> Result<(), EmbeddedError> {
        if self.is_paused.load(Ordering::SeqCst) {
            self.resume();
        }
        // Data that is about to be deleted needs no checkpoint.
        let signal = if self.data_dir.is_persistent {
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
        if let Err(error) = self.stop_server() {
            tracing::warn!(%error, "stopping the private PostgreSQL");
        }
        // A server that stopped normally has no pid file any more. Persistent data will be started
        // on again, and that start cleans up.
        if !self.data_dir.is_persistent {
            stale_server::remove_shared_memory(&self.data_dir.path);
        }
    }
}

/// Returns a TCP port that was free a moment ago. The server refuses to start if it no longer is.
fn free_port() -> Result<u16, EmbeddedError> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .context(|| "looking for a free port".into())
}
