//! The real binary, as somebody meets it who has nothing set.

use std::env;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Folder, client, until};

/// A home and working folder with nothing in it, for commands that see nothing of our environment but where programs are.
#[derive(Debug)]
pub(crate) struct Home {
    folder: Folder,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// None: by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: Folder::new(),
        }
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latido"));
        let kept = ["PATH", "PG_BIN"]
            .into_iter()
            .filter_map(|name| Some((name, env::var_os(name)?)));
        command
            .env_clear()
            .envs(kept)
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path());
        command
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
        self.start(arguments, variables).finished().await
    }

    /// Runs it to its end, which must be a good one; returns what it printed.
    pub(crate) async fn print(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let finished = self.run(arguments, variables).await;
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
        finished.out
    }

    /// Leaves it running.
    pub(crate) fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        Self::run_on(self.command(arguments, variables))
    }

    /// The same, with a listening socket as systemd hands it over.
    pub(crate) fn start_with(
        &self,
        socket: &TcpListener,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Running {
        let real = self.command(arguments, variables);
        let mut command = Command::new("sh");
        // The shell becomes the server: the number that it knows itself by is the server's.
        command
            .args([
                "-c",
                "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null",
            ])
            .arg(real.get_program());
        command
            .args(real.get_args())
            .env_clear()
            .current_dir(self.folder.path());
        command.envs(
            real.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let socket = OwnedFd::from(socket.try_clone().expect("a descriptor"));
        command
            .stdin(socket)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::run_on(command)
    }

    fn run_on(mut command: Command) -> Running {
        let mut child = command.spawn().expect("it starts");
        let out = Said::by(child.stdout.take().expect("piped"));
        let err = Said::by(child.stderr.take().expect("piped"));
        Running { child, out, err }
    }
}

/// What came out of a pipe so far, whole lines or not. Written by the thread that reads the pipe.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn by(mut pipe: impl Read + Send + 'static) -> Self {
        let said = Self::default();
        let heard = said.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                heard
                    .0
                    .lock()
                    .expect("nobody panics with it")
                    .extend_from_slice(&buffer[..n]);
            }
        });
        said
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("nobody panics with it").clone()).expect("UTF-8")
    }

    /// Whether no more can come: the thread that reads has put its clone down.
    fn is_complete(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// The first complete line that satisfies the condition.
    fn line(&self, satisfied: impl Fn(&str) -> bool) -> Option<String> {
        let text = self.text();
        let (complete, _) = text.rsplit_once('\n')?;
        complete
            .lines()
            .find(|line| satisfied(line))
            .map(ToOwned::to_owned)
    }
}

/// A command under way; it is killed if the test leaves it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: Said,
    err: Said,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("it lives");
    }

    /// Awaits its end.
    pub(crate) async fn finished(mut self) -> Finished {
        until("the command ends", async || self.has_ended()).await;
        let code = self.child.wait().expect("it is ours").code();
        until("its last words", async || {
            self.out.is_complete() && self.err.is_complete()
        })
        .await;
        Finished {
            code,
            out: self.out.text(),
            err: self.err.text(),
        }
    }

    /// Awaits a line on its standard output.
    pub(crate) async fn prints(&self, what: &str, satisfied: impl Fn(&str) -> bool) -> String {
        self.line(&self.out, what, satisfied).await
    }

    /// Awaits a line on its standard error.
    pub(crate) async fn says(&self, what: &str, satisfied: impl Fn(&str) -> bool) -> String {
        self.line(&self.err, what, satisfied).await
    }

    async fn line(&self, said: &Said, what: &str, satisfied: impl Fn(&str) -> bool) -> String {
        let mut found = None;
        until(what, async || {
            // Asked first: what it said meanwhile counts.
            let is_over = self.out.is_complete() && self.err.is_complete();
            found = said.line(&satisfied);
            assert!(
                found.is_some() || !is_over,
                "it ended, and never said {what}: {} {}",
                self.out.text(),
                self.err.text()
            );
            found.is_some()
        })
        .await;
        found.expect("found")
    }

    /// All that it said on standard error so far.
    pub(crate) fn said(&self) -> String {
        self.err.text()
    }

    /// Awaits the address that a server says it listens on, among its structured logs.
    pub(crate) async fn address(&self) -> SocketAddr {
        let line = self
            .says("it listens", |line| {
                line.contains(r#""message":"listening""#)
            })
            .await;
        let log: Value = serde_json::from_str(&line).expect("JSON when not on a terminal");
        log["address"]
            .as_str()
            .and_then(|address| address.parse().ok())
            .expect("an address")
    }

    /// The same, once it can serve: before it has reached its database, clients are told to come back.
    pub(crate) async fn ready(&self) -> SocketAddr {
        let address = self.address().await;
        let (http, url) = (client(), format!("http://{address}/ready"));
        until("ready", async || {
            http.get(&url)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill().and_then(|()| self.child.wait());
    }
}
