//! Signals and information for processes that are not children of this one. Linux uses `/proc`,
//! other systems `ps`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to a process. A process that no longer exists is not an error.
pub(super) fn send_signal(pid: u32, signal: Signal) {
    // For kill(2), 0 and negative numbers mean process groups. They never get through here.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, signal);
    }
}

/// The properties of a running process that identify it.
#[derive(Debug)]
pub(super) struct ProcessInfo {
    /// The command line, with its arguments joined by spaces.
    pub(super) command: String,
    /// The working directory, if the system lets us read it.
    pub(super) working_dir: Option<PathBuf>,
}

/// Describes a live process. Returns `None` if it is gone or a zombie.
pub(super) fn inspect(pid: u32) -> Option<ProcessInfo> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let command = match fs::read(folder.join("cmdline")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).replace('\0', " "),
        Err(_) if has_proc() => return None,
        Err(_) => run_ps(&["-o", "command=", "-p", &pid.to_string()])?,
    };
    let command = command.trim().to_owned();
    let directory = fs::read_link(folder.join("cwd")).ok();
    (!command.is_empty()).then_some(ProcessInfo {
        command,
        working_dir: directory,
    })
}

/// Lists the children of a process. The server's backends have sessions of their own, so a signal
/// to the group misses them.
pub(super) fn child_pids(parent: u32) -> Vec<u32> {
    if has_proc() {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        return pids.filter(|&pid| parent_of(pid) == Some(parent)).collect();
    }
    let listing = run_ps(&["-A", "-o", "pid=,ppid="]).unwrap_or_default();
    let pairs = listing
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace));
    pairs
        .filter(|(_, of)| of.trim().parse() == Ok(parent))
        .filter_map(|(pid, _)| pid.parse().ok())
        .collect()
}

/// Reads the parent from the fourth field of `stat`. The second field is a name in parentheses that
/// may contain anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

fn run_ps(arguments: &[&str]) -> Option<String> {
    let output = Command::new("ps")
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
