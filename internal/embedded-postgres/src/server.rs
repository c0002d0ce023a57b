//! The server process: starting it, waiting until it is ready, and stopping it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::EmbeddedError;
use super::binaries::ServerBinaries;
use super::error::ErrorContext;
use super::os_user::OsUser;
use super::process;
use super::stale_server::PidFile;
use super::watchdog::Watchdog;

/// The time limit for a start. Recovery after a crash may take long, and a server that is merely
/// slow should not be abandoned.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// The time limit for backends of a killed postmaster to end. They finish their current statement
/// first and keep the shared memory of the data directory until then.
const LEFTOVER_BACKENDS_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(3);
/// The size in bytes at which the log is emptied before a start. The log is kept between runs, but
/// must not grow forever.
const MAX_LOG_BYTES: u64 = 1 << 20;

/// The options of the server's command line.
#[derive(Debug)]
pub(super) struct LaunchOptions<'a> {
    pub(super) binaries: &'a ServerBinaries,
    pub(super) os_user: &'a OsUser,
    pub(super) data_dir: PathBuf,
    pub(super) log_path: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) port: u16,
    pub(super) has_tcp: bool,
    pub(super) is_durable: bool,
}

/// A server process that has accepted connections.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
}

impl ServerProcess {
    /// Starts the server and returns when it accepts connections.
    pub(super) fn start(
        launch: &LaunchOptions<'_>,
        watchdog: &mut Watchdog,
    ) -> Result<Self, EmbeddedError> {
        let deadline = Instant::now() + LEFTOVER_BACKENDS_TIMEOUT;
        loop {
            let outcome = Self::try_start(launch, watchdog);
            match &outcome {
                Err(EmbeddedError::StartFailed { tail, .. })
                    if tail.contains("pre-existing shared memory block")
                        && Instant::now() < deadline => {}
                _ => return outcome,
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_start(
        launch: &LaunchOptions<'_>,
        watchdog: &mut Watchdog,
    ) -> Result<Self, EmbeddedError> {
        let doing = || format!("opening {}", launch.log_path.display());
        let mut log = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&launch.log_path)
            .context(doing)?;
        if log.metadata().context(doing)?.len() > MAX_LOG_BYTES {
            log.set_len(0).context(doing)?;
        }
        let start_offset = log.seek(SeekFrom::End(0)).context(doing)?;
        let mut command = launch
            .os_user
            .command(launch.binaries.program_path("postgres"));
        command
            .arg("-D")
            .arg(&launch.data_dir)
            .arg("-k")
            .arg(&launch.socket_dir)
            .args(["-p", &launch.port.to_string()]);
        for setting in launch.server_settings() {
            command.args(["-c", setting]);
        }
        command
            .stdout(Stdio::null())
            .stderr(log.try_clone().context(doing)?);
        let child = command
            .spawn()
            .context(|| format!("starting PostgreSQL as {}", launch.os_user.name()))?;
        let mut server = Self { child };
        let ready = watchdog
            .set_server_pid(Some(server.pid()))
            .and_then(|()| server.wait_until_ready(launch, log, start_offset));
        match ready {
            Ok(()) => Ok(server),
            Err(error) => {
                server.stop(Signal::QUIT)?;
                watchdog.set_server_pid(None)?;
                Err(error)
            }
        }
    }

    fn wait_until_ready(
        &mut self,
        launch: &LaunchOptions<'_>,
        log: File,
        start_offset: u64,
    ) -> Result<(), EmbeddedError> {
        let deadline = Instant::now() + START_PATIENCE;
        let reason = loop {
            let pid_file = PidFile::read(&launch.data_dir);
            if pid_file.is_ready && pid_file.pid == Some(self.pid()) {
                return Ok(());
            }
            if let Some(status) = self
                .child
                .try_wait()
                .context(|| "waiting for PostgreSQL".into())?
            {
                break format!("it ended with {status}");
            }
            if Instant::now() > deadline {
                break format!("it was not ready after {START_PATIENCE:?}");
            }
            thread::sleep(POLL_INTERVAL);
        };
        Err(EmbeddedError::StartFailed {
            reason,
            log: launch.log_path.clone(),
            tail: log_tail(log, start_offset),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops the process with this signal, then with QUIT, then with KILL, and reaps it.
    pub(super) fn stop(mut self, first: Signal) -> Result<(), EmbeddedError> {
        let doing = || "waiting for PostgreSQL to stop".to_owned();
        for (signal, timeout) in [
            (first, Duration::from_secs(15)),
            (Signal::QUIT, Duration::from_secs(7)),
        ] {
            let deadline = Instant::now() + timeout;
            let mut is_signalled = false;
            while Instant::now() < deadline {
                if self.child.try_wait().context(doing)?.is_some() {
                    return Ok(());
                }
                // The signal is sent after `try_wait`: while the process is unreaped, its pid
                // cannot belong to another one.
                if !is_signalled {
                    process::send_signal(self.pid(), signal);
                    is_signalled = true;
                }
                thread::sleep(POLL_INTERVAL);
            }
        }
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .context(doing)?;
        Ok(())
    }

    /// Kills the server and all its backends at once, like a power cut.
    pub(super) fn kill(mut self) -> Result<(), EmbeddedError> {
        process::send_signal(self.pid(), Signal::STOP); // Prevents it from forking further children.
        let backends = process::child_pids(self.pid());
        process::send_signal(self.pid(), Signal::KILL);
        for backend in backends {
            process::send_signal(backend, Signal::KILL);
        }
        self.child
            .wait()
            .context(|| "waiting for PostgreSQL to die".into())?;
        Ok(())
    }

    /// Freezes the server and its backends: connections stay open, but nothing responds.
    pub(super) fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Resumes a server that was frozen by `pause`.
    pub(super) fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        process::send_signal(self.pid(), signal);
        for backend in process::child_pids(self.pid()) {
            process::send_signal(backend, signal);
        }
    }
}

impl LaunchOptions<'_> {
    fn server_settings(&self) -> impl Iterator<Item = &'static str> {
        let always = [
            if self.has_tcp {
                "listen_addresses=127.0.0.1"
            } else {
                "listen_addresses="
            },
            "shared_buffers=64MB",
            "timezone=UTC",
            "log_timezone=UTC",
            "wal_level=minimal",
            "max_wal_senders=0",
        ];
        // With asynchronous commit a crash may lose the last moments of persistent data, in return
        // for three times the speed. A temporary cluster is never synced, but it is written at each
        // commit. It survives a kill of the server, though not a power cut.
        let by_storage: &[&str] = if self.is_durable {
            &["max_connections=100", "synchronous_commit=off"]
        } else {
            // Shared memory is placed in files of the data directory, so a killed server leaves
            // nothing in /dev/shm.
            &[
                "max_connections=200",
                "fsync=off",
                "full_page_writes=off",
                "autovacuum=off",
                "dynamic_shared_memory_type=mmap",
            ]
        };
        always.into_iter().chain(by_storage.iter().copied())
    }
}

/// Returns the last 20 lines that this start wrote to the log.
fn log_tail(mut log: File, start_offset: u64) -> String {
    let mut bytes = Vec::new();
    let _unreadable = log
        .seek(SeekFrom::Start(start_offset))
        .and_then(|_| log.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
