//! What an earlier run left: the server's `postmaster.pid`, and perhaps the server.
//!
//! PostgreSQL clears a stale file itself when the pid in it is dead. When that number belongs to some other process of
//! the same user by now (common in containers, where pids start at 1) it refuses to start, so we look closer.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::EmbeddedError;
use super::process::{self, Described};

const PID_FILE: &str = "postmaster.pid";

/// Removes what the system keeps of a server of ours that was killed, when no start on its data will do so. Only for a
/// server of this run: an old file's number may be another's by now.
pub(super) fn forget(data: &Path) {
    if let Some(segment) = PidFile::read(data).segment {
        let _best_effort = Command::new("ipcrm")
            .args(["-m", &segment])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// What `postmaster.pid` says.
#[derive(Debug, Default)]
pub(super) struct PidFile {
    /// The server's process.
    pub(super) pid: Option<u32>,
    /// Whether it accepts connections.
    pub(super) ready: bool,
    /// Its System V segment: a few bytes that show whether any of its processes is left.
    segment: Option<String>,
}

impl PidFile {
    /// Line 1 is the pid (negative for a single-user server), line 7 the segment, line 8 the state. The file is written in
    /// several steps, so any of them may be missing.
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

/// Makes way for a new server: stops one that outlived its manager, or deletes a file that names somebody else.
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

/// A server works in its data directory, and one that we started also names it. Both can be hidden from us: root in a
/// container may not read another user's working directory, and someone may have started the server through `PGDATA`.
fn judge(process: &Described, data: &Path) -> Verdict {
    let program = process.command.split(' ').next().unwrap_or_default();
    // `postgres: checkpointer` and the like are servants of a server, never the server.
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

/// It is not our child: all we can do is signal and look.
fn stop(pid: u32, data: &Path) {
    for (signal, patience) in [(Signal::INT, 15), (Signal::QUIT, 7), (Signal::KILL, 2)] {
        process::signal(pid, signal);
        process::signal(pid, Signal::CONT);
        let deadline = Instant::now() + Duration::from_secs(patience);
        while Instant::now() < deadline {
            // A zombie has no description, and a slow init leaves it one for long.
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
    fn only_a_server_of_this_directory_is_ours() {
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
