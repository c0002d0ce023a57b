//! Child processes: started on a core, accounted to the nanosecond, ended when dropped.

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

/// How long a child may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(12);

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a program; its standard error goes to `target/bench/<name>.log`.
    pub(crate) fn spawn(
        name: &str,
        core: Option<usize>,
        command: &mut Command,
    ) -> anyhow::Result<Self> {
        let log = crate::folder()?.join(format!("{name}.log"));
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

    /// Starts this very program in another role, with `plan` as its first line of input.
    pub(crate) fn role(
        role: &str,
        core: Option<usize>,
        plan: &impl Serialize,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        let mut process = Self::spawn(role, core, Command::new(program).args(["role", role]))?;
        process.tell(&serde_json::to_string(plan)?)?;
        Ok(process)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to it.
    pub(crate) fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("its input is closed")?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .with_context(|| format!("writing to {}", self.name))
    }

    /// The next line it prints; waits for it.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let output = self.output.as_mut().context("its output is gone")?;
        if output
            .read_line(&mut line)
            .with_context(|| format!("reading from {}", self.name))?
            == 0
        {
            bail!("{} ended early: {}", self.name, self.last_words());
        }
        Ok(line.trim_end().to_owned())
    }

    /// The next line, as JSON.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("{} said {line}", self.name))
    }

    /// Processor time of all its threads so far, in nanoseconds: the scheduler's own count, not ticks.
    pub(crate) fn cpu_ns(&self) -> u64 {
        cpu_ns(self.pid())
    }

    /// Resident memory in bytes.
    pub(crate) fn rss(&self) -> u64 {
        rss(self.pid())
    }

    /// Leaves its output to a thread that throws it away, so that a chatty child never waits for us.
    pub(crate) fn drain_output(&mut self) {
        if let Some(mut output) = self.output.take() {
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        }
    }

    /// Asks it to end, and kills it if it does not.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal; nothing happens if it is gone.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = i32::try_from(self.pid()).map(|pid| kill(Pid::from_raw(pid), signal));
    }

    fn last_words(&self) -> String {
        let log =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/bench/{}.log", self.name));
        let mut text = String::new();
        let _ = File::open(log).and_then(|mut file| file.read_to_string(&mut text));
        text.lines().last().unwrap_or("it said nothing").to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// Processor time of another process so far, in nanoseconds; 0 if it is gone.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(pid) = i32::try_from(pid) else {
        return 0;
    };
    clock_getcpuclockid(Pid::from_raw(pid)).map_or(0, read)
}

/// Processor time of this process, in nanoseconds.
pub(crate) fn own_cpu_ns() -> u64 {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// The monotonic clock, in nanoseconds: what stamps in payloads are made of.
pub(crate) fn now_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The wall clock, in nanoseconds: what the kernel stamps arrivals with.
pub(crate) fn wall_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

fn read(clock: ClockId) -> u64 {
    clock.now().map_or(0, |time| {
        time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs()
    })
}

/// Resident memory of a process in bytes; 0 if it is gone.
pub(crate) fn rss(pid: u32) -> u64 {
    machine::field(&format!("/proc/{pid}/status"), "VmRSS")
        .map_or(0, |text| machine::number(&text) * 1024)
}
