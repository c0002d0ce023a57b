//! Questions about processes that are not our children, for Linux by `/proc` and elsewhere by `ps`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal; a process that is gone is no error.
pub(super) fn signal(pid: u32, signal: Signal) {
    // 0 and negative numbers mean groups to kill(2): they never get through.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, signal);
    }
}

/// What a process is.
#[derive(Debug)]
pub(super) struct Described {
    /// Its arguments, joined by spaces.
    pub(super) command: String,
    /// Its working directory, where the system tells.
    pub(super) directory: Option<PathBuf>,
}

/// Describes a live process; none for one that is gone or a zombie.
pub(super) fn describe(pid: u32) -> Option<Described> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let command = match fs::read(folder.join("cmdline")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).replace('\0', " "),
        Err(_) if has_proc() => return None,
        Err(_) => ps(&["-o", "command=", "-p", &pid.to_string()])?,
    };
    let command = command.trim().to_owned();
    let directory = fs::read_link(folder.join("cwd")).ok();
    (!command.is_empty()).then_some(Described { command, directory })
}

/// The children of a process: the server's backends are in sessions of their own, so a group signal misses them.
pub(super) fn children(parent: u32) -> Vec<u32> {
    if has_proc() {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        return pids.filter(|&pid| parent_of(pid) == Some(parent)).collect();
    }
    let listing = ps(&["-A", "-o", "pid=,ppid="]).unwrap_or_default();
    let pairs = listing
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace));
    pairs
        .filter(|(_, of)| of.trim().parse() == Ok(parent))
        .filter_map(|(pid, _)| pid.parse().ok())
        .collect()
}

/// The fourth field of `stat`; the second is a name in parentheses that may hold anything.
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

fn ps(arguments: &[&str]) -> Option<String> {
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
