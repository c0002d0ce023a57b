//! Cleanup after an earlier run: its `postmaster.pid`, and perhaps a server that still runs.
//!
//! PostgreSQL removes a stale file itself if the pid in it is dead. It refuses to start if that pid
//! now belongs to another process of the same user, which is common in containers, where pids start
//! at 1. This module therefore looks at the process.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::EmbeddedError;
use super::process::{self, ProcessInfo};

const PID_FILE: &str = "postmaster.pid";

/// Removes the shared memory of a killed server when no later start on its data will do so. Only
/// for a server of this run: the id in an older file may belong to another program by now.
pub(super) fn remove_shared_memory(data: &Path) {
    if let Some(segment) = PidFile::read(data).shared_memory_id {
        let _best_effort = Command::new("ipcrm")
            .args(["-m", &segment])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The contents of a `postmaster.pid` file.
#[derive(Debug, Default)]
pub(super) struct PidFile {
    /// The pid of the server process.
    pub(super) pid: Option<u32>,
    /// `true` if the server accepts connections.
    pub(super) is_ready: bool,
    /// The id of its System V segment, a few bytes that show if any of its processes is left.
    shared_memory_id: Option<String>,
}

impl PidFile {
    /// Reads the file. Line 1 is the pid (negative for a single-user server), line 7 the segment,
    /// line 8 the state. The server writes it in several steps, so any of them may be missing.
    pub(super) fn read(data: &Path) -> Self {
        let text = fs::read_to_string(data.join(PID_FILE)).unwrap_or_default();
        let mut lines = text.lines();
        let pid = lines
            .next()
            .and_then(|line| line.trim().trim_start_matches('-').parse().ok());
        let shared_memory_id = lines
            .nth(5)
            .and_then(|line| line.split_whitespace().nth(1))
            .map(str::to_owned);
        Self {
            pid,
            shared_memory_id,
            is_ready: lines.next().is_some_and(|state| state.starts_with("ready")),
        }
    }
}

/// Prepares the data directory for a new server: stops a server that outlived its parent, or
/// deletes a file that names an unrelated process.
pub(super) fn clean_up(data: &Path) -> Result<(), EmbeddedError> {
    let Some(pid) = PidFile::read(data).pid else {
        return Ok(());
    };
    let Some(process) = process::inspect(pid) else {
        return Ok(());
    };
    let path = data.join(PID_FILE);
    match classify_process(&process, data) {
        PidFileOwner::ThisDirectory => {
            tracing::warn!(pid, data = %data.display(), "stopping a PostgreSQL that outlived an earlier run");
            stop_by_pid(pid, data);
            Ok(())
        }
        PidFileOwner::OtherProcess => {
            tracing::warn!(
                pid,
                command = process.command,
                "deleting a stale postmaster.pid that names another process"
            );
            let doing = format!("deleting {}", path.display());
            fs::remove_file(path).map_err(|source| EmbeddedError::Io { doing, source })
        }
        PidFileOwner::Unknown => Err(EmbeddedError::PidFileInUse {
            path,
            pid,
            command: process.command,
        }),
    }
}

#[derive(Debug, PartialEq)]
enum PidFileOwner {
    ThisDirectory,
    OtherProcess,
    Unknown,
}

/// Classifies the process. A server works in its data directory, and one that this module started
/// also has it on its command line. Both can be hidden: root in a container may not read another
/// user's working directory, and a server may have been started with `PGDATA`.
fn classify_process(process: &ProcessInfo, data: &Path) -> PidFileOwner {
    let program = process.command.split(' ').next().unwrap_or_default();
    // `postgres: checkpointer` and similar processes are children of a server, never the server
    // itself.
    let server = program.ends_with("postgres") || program.ends_with("postmaster");
    let directory = process.working_dir.as_deref();
    if !server {
        PidFileOwner::OtherProcess
    } else if directory == Some(data) || command_names_dir(&process.command, data) {
        PidFileOwner::ThisDirectory
    } else if directory.is_some() || process.command.contains(" -D") {
        PidFileOwner::OtherProcess
    } else {
        PidFileOwner::Unknown
    }
}

fn command_names_dir(command: &str, data: &Path) -> bool {
    let data = data.to_string_lossy();
    command
        .split_once(data.as_ref())
        .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with(' '))
}

/// Stops a server that is not a child of this process, so it can only be signalled and polled.
fn stop_by_pid(pid: u32, data: &Path) {
    for (signal, timeout_s) in [(Signal::INT, 15), (Signal::QUIT, 7), (Signal::KILL, 2)] {
        process::send_signal(pid, signal);
        process::send_signal(pid, Signal::CONT);
        let deadline = Instant::now() + Duration::from_secs(timeout_s);
        while Instant::now() < deadline {
            // A zombie has no description, and a slow init may keep one for a long time.
            if PidFile::read(data).pid != Some(pid) || process::inspect(pid).is_none() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(command: &str, directory: Option<&str>) -> PidFileOwner {
        let directory = directory.map(Into::into);
        classify_process(
            &ProcessInfo {
                command: command.into(),
                working_dir: directory,
            },
            Path::new("/var/lib/latido/pg15"),
        )
    }

    #[test]
    fn pid_file_is_matched_to_a_server_of_this_directory() {
        let bin = "/usr/lib/postgresql/15/bin/postgres";
        assert_eq!(
            classify(&format!("{bin} -D /var/lib/latido/pg15 -k /tmp/x"), None),
            PidFileOwner::ThisDirectory
        );
        assert_eq!(
            classify(bin, Some("/var/lib/latido/pg15")),
            PidFileOwner::ThisDirectory
        );
        assert_eq!(
            classify(&format!("{bin} -D /var/lib/latido/pg150"), None),
            PidFileOwner::OtherProcess
        );
        assert_eq!(classify(bin, Some("/srv/pg")), PidFileOwner::OtherProcess);
        assert_eq!(classify(bin, None), PidFileOwner::Unknown);
        assert_eq!(
            classify("postgres: checkpointer", None),
            PidFileOwner::OtherProcess
        );
        assert_eq!(
            classify("sleep 60", Some("/var/lib/latido/pg15")),
            PidFileOwner::OtherProcess
        );
    }
}
