//! Child processes: pinned to a core, measured in nanoseconds of CPU time, and ended when dropped.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machine;

/// The time that a child has to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);

/// A running child process with its pipes.
#[derive(Debug)]
pub(crate) struct BenchProcess {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl BenchProcess {
    /// Starts a program. Its standard error goes to `target/bench/<name>.log`.
    pub(crate) fn spawn(
        name: &str,
        core: Option<usize>,
        command: &mut Command,
    ) -> anyhow::Result<Self> {
        let log = crate::output::output_folder()?.join(format!("{name}.log"));
        let log = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = machine::on_core(core, || command.spawn())?
            .with_context(|| format!("starting {name}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Self {
            name: name.to_owned(),
            child,
            input,
            output,
        })
    }

    /// Starts this program in another role, with `plan` as its first input line.
    pub(crate) fn spawn_role(
        role: &str,
        core: Option<usize>,
        plan: &impl Serialize,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        let mut process = Self::spawn(role, core, Command::new(program).args(["role", role]))?;
        process.send_line(&serde_json::to_string(plan)?)?;
        Ok(process)
    }

    /// Returns the process id of the child.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to the child's standard input.
    pub(crate) fn send_line(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("its input is closed")?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .with_context(|| format!("writing to {}", self.name))
    }

    /// Waits for the next line of output.
    pub(crate) fn read_line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let output = self.output.as_mut().context("its output is gone")?;
        if output
            .read_line(&mut line)
            .with_context(|| format!("reading from {}", self.name))?
            == 0
        {
            bail!("{} ended early: {}", self.name, self.last_log_line());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Waits for the next line and parses it as JSON.
    pub(crate) fn read_json<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.read_line()?;
        serde_json::from_str(&line).with_context(|| format!("{} printed {line}", self.name))
    }

    /// Returns the processor time of all its threads in nanoseconds, from the scheduler's exact
    /// count.
    pub(crate) fn cpu_ns(&self) -> u64 {
        cpu_ns(self.pid())
    }

    /// Returns the resident memory in bytes.
    pub(crate) fn rss(&self) -> u64 {
        rss(self.pid())
    }

    /// Discards the remaining output on a thread, so that the child never blocks on a full pipe.
    pub(crate) fn drain_output(&mut self) {
        if let Some(mut output) = self.output.take() {
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        }
    }

    /// Asks the child to end, and kills it after the timeout.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
    }

    /// Kills the child at once.
    pub(crate) fn kill(&mut self) {
        // Both calls fail only if the child is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal to the child. Does nothing if it is gone.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = i32::try_from(self.pid()).map(|pid| kill(Pid::from_raw(pid), signal));
    }

    fn last_log_line(&self) -> String {
        let log =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/bench/{}.log", self.name));
        let mut text = String::new();
        let _ = File::open(log).and_then(|mut file| file.read_to_string(&mut text));
        text.lines()
            .last()
            .unwrap_or("it printed nothing")
            .to_owned()
    }
}

impl Drop for BenchProcess {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// Returns the processor time of another process in nanoseconds, or 0 if it is gone.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(pid) = i32::try_from(pid) else {
        return 0;
    };
    clock_getcpuclockid(Pid::from_raw(pid)).map_or(0, read)
}

/// Returns the processor time of this process in nanoseconds.
pub(crate) fn own_cpu_ns() -> u64 {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// Returns the monotonic clock in nanoseconds. Payload stamps use it.
pub(crate) fn now_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Returns the wall clock in nanoseconds. The kernel's arrival stamps use it.
pub(crate) fn wall_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

fn read(clock: ClockId) -> u64 {
    clock.now().map_or(0, |time| {
        time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs()
    })
}

/// Returns the resident memory of a process in bytes, or 0 if it is gone.
pub(crate) fn rss(pid: u32) -> u64 {
    machine::field(&format!("/proc/{pid}/status"), "VmRSS")
        .map_or(0, |text| machine::number(&text) * 1024)
}
