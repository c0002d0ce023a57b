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
use super::process::{self, Described};

const PID_FILE: &str = "postmaster.pid";

/// Removes the shared memory of a killed server when no later start on its data will do so. Only
/// for a server of this run: the id in an older file may belong to another program by now.
pub(super) fn forget(data: &Path) {
    if let Some(segment) = PidFile::read(data).segment {
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
    pub(super) ready: bool,
    /// The id of its System V segment, a few bytes that show if any of its processes is left.
    segment: Option<String>,
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
        let segment = lines
            .nth(5)
            .and_then(|line| line.split_whitespace().nth(1))
            .map(str::to_owned);
        Self {
            pid,
            segment,
            ready: lines.next().is_some_and(|state| state.starts_with("ready")),
        }
    }
}

/// Prepares the data directory for a new server: stops a server that outlived its parent, or
/// deletes a file that names an unrelated process.
pub(super) fn clear(data: &Path) -> Result<(), EmbeddedError> {
    let Some(pid) = PidFile::read(data).pid else {
        return Ok(());
    };
    let Some(process) = process::describe(pid) else {
        return Ok(());
    };
    let path = data.join(PID_FILE);
    match judge(&process, data) {
        Verdict::Ours => {
            tracing::warn!(pid, data = %data.display(), "stopping a PostgreSQL that outlived an earlier run");
            stop(pid, data);
            Ok(())
        }
        Verdict::Unrelated => {
            tracing::warn!(
                pid,
                command = process.command,
                "deleting a stale postmaster.pid that names another process"
            );
            let doing = format!("deleting {}", path.display());
            fs::remove_file(path).map_err(|source| EmbeddedError::Io { doing, source })
        }
        Verdict::Unclear => Err(EmbeddedError::PidFileHeld {
            path,
            pid,
            command: process.command,
        }),
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Ours,
    Unrelated,
    Unclear,
}

/// Classifies the process. A server works in its data directory, and one that this module started
/// also has it on its command line. Both can be hidden: root in a container may not read another
/// user's working directory, and a server may have been started with `PGDATA`.
fn judge(process: &Described, data: &Path) -> Verdict {
    let program = process.command.split(' ').next().unwrap_or_default();
    // `postgres: checkpointer` and similar processes are children of a server, never the server
    // itself.
    let server = program.ends_with("postgres") || program.ends_with("postmaster");
    let directory = process.directory.as_deref();
    if !server {
        Verdict::Unrelated
    } else if directory == Some(data) || names(&process.command, data) {
        Verdict::Ours
    } else if directory.is_some() || process.command.contains(" -D") {
        Verdict::Unrelated
    } else {
        Verdict::Unclear
    }
}

fn names(command: &str, data: &Path) -> bool {
    let data = data.to_string_lossy();
    command
        .split_once(data.as_ref())
        .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with(' '))
}

/// Stops a server that is not a child of this process, so it can only be signalled and polled.
fn stop(pid: u32, data: &Path) {
    for (signal, timeout_s) in [(Signal::INT, 15), (Signal::QUIT, 7), (Signal::KILL, 2)] {
        process::signal(pid, signal);
        process::signal(pid, Signal::CONT);
        let deadline = Instant::now() + Duration::from_secs(timeout_s);
        while Instant::now() < deadline {
            // A zombie has no description, and a slow init may keep one for a long time.
            if PidFile::read(data).pid != Some(pid) || process::describe(pid).is_none() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(command: &str, directory: Option<&str>) -> Verdict {
        let directory = directory.map(Into::into);
        judge(
            &Described {
                command: command.into(),
                directory,
            },
            Path::new("/var/lib/latido/pg15"),
        )
    }

    #[test]
    fn pid_file_is_matched_to_a_server_of_this_directory() {
        let bin = "/usr/lib/postgresql/15/bin/postgres";
        assert_eq!(
            verdict(&format!("{bin} -D /var/lib/latido/pg15 -k /tmp/x"), None),
            Verdict::Ours
        );
        assert_eq!(verdict(bin, Some("/var/lib/latido/pg15")), Verdict::Ours);
        assert_eq!(
            verdict(&format!("{bin} -D /var/lib/latido/pg150"), None),
            Verdict::Unrelated
        );
        assert_eq!(verdict(bin, Some("/srv/pg")), Verdict::Unrelated);
        assert_eq!(verdict(bin, None), Verdict::Unclear);
        assert_eq!(verdict("postgres: checkpointer", None), Verdict::Unrelated);
        assert_eq!(
            verdict("sleep 60", Some("/var/lib/latido/pg15")),
            Verdict::Unrelated
        );
    }
}
