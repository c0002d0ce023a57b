//! The machine: its description, and the assignment of cores.

use std::fs;
use std::process::Command;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// The core of the measured servers: Latido, the floor and the peers.
pub(crate) const SERVER_CORE: usize = 0;
/// The core of the load and the publishers.
pub(crate) const LOAD_CORE: usize = 1;

/// The conditions under which the figures were measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Conditions {
    /// The start time of the run, in RFC 3339.
    pub(crate) date: String,
    /// The number of logical processors.
    pub(crate) cores: usize,
    /// The model name of the processor.
    pub(crate) processor: String,
    /// The kernel release, as `uname -r` prints it.
    pub(crate) kernel: String,
    /// The TCP congestion control algorithm.
    pub(crate) congestion_control: String,
    /// The total memory, in MiB.
    pub(crate) memory_mib: u64,
    /// The version of Latido, with the commit if git is available.
    pub(crate) latido: String,
    /// The version of the compiler.
    pub(crate) rustc: String,
    /// The open-file limit of a process.
    pub(crate) open_files: u64,
}

impl Conditions {
    /// Reads the current conditions of this machine.
    pub(crate) fn read() -> Self {
        let commit = command_output("git", &["rev-parse", "--short", "HEAD"]);
        Self {
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            congestion_control: first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
            memory_mib: field("/proc/meminfo", "MemTotal").map_or(0, |text| number(&text) / 1024),
            latido: format!("{} {commit}", env!("CARGO_PKG_VERSION")),
            rustc: command_output("rustc", &["--version"]),
            open_files: raise_open_files(),
        }
    }
}

/// Raises the soft limit of open files to the hard limit and returns it.
pub(crate) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, current } = getrlimit(Resource::Nofile);
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}

/// Runs `act` on one core. Threads and processes that it starts stay there: they inherit the mask,
/// so a child never runs elsewhere, not even for a moment. On a machine without that core, `act`
/// runs anywhere.
pub(crate) fn on_core<T>(core: Option<usize>, act: impl FnOnce() -> T) -> anyhow::Result<T> {
    let Some(core) =
        core.filter(|core| *core < std::thread::available_parallelism().map_or(1, usize::from))
    else {
        return Ok(act());
    };
    let before = sched_getaffinity(None).context("reading the processor mask")?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).context("setting the processor mask")?;
    let done = act();
    sched_setaffinity(None, &before).context("restoring the processor mask")?;
    Ok(done)
}

fn command_output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.trim().to_owned()
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Returns the value after `name:` in one of the kernel's text files.
pub(crate) fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut values = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim() == name);
    values.next().map(|(_, value)| value.trim().to_owned())
}

/// Parses the number at the start of such a value.
pub(crate) fn number(value: &str) -> u64 {
    value
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}
