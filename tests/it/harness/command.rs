//! Runs the real binary in an empty environment, as for a user who has configured nothing.

use std::env;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use tokio::net::TcpStream;

use crate::harness::{ReservedPort, TempFolder, http_client, wait_until};

/// An empty home and working folder. Its commands inherit only the variables that locate programs.
#[derive(Debug)]
pub(crate) struct CommandHome {
    folder: TempFolder,
}

/// The exit code and the output of a finished command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    /// The exit code, or `None` if a signal ended the command.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandHome {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempFolder::new(),
        }
    }

    pub(crate) fn folder(&self) -> &TempFolder {
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

    /// Runs the command to its end.
    pub(crate) async fn run(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> CommandOutput {
        self.start(arguments, variables).wait_for_exit().await
    }

    /// Runs the command to its end with a terminal as its standard output, asserts that it succeeded,
    /// and returns what the terminal shows.
    pub(crate) fn run_in_terminal(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut command = self.command(arguments, variables);
        let mut child = command.stdout(terminal.slave).spawn().unwrap();
        // The end of the terminal stays open in the command, too.
        drop(command);
        let mut shown = Vec::new();
        // Linux reports an error once nobody has the other end.
        let _ = std::fs::File::from(terminal.master).read_to_end(&mut shown);
        assert!(child.wait().unwrap().success());
        String::from_utf8(shown).unwrap()
    }

    /// Runs the command to its end, asserts that it succeeded, and returns its standard output.
    pub(crate) async fn run_for_stdout(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> String {
        let finished = self.run(arguments, variables).await;
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
        finished.stdout
    }

    /// Starts the command and leaves it running. A server that may listen on any port (`PORT` is 0)
    /// gets one that is reserved for it, so that its address is known.
    pub(crate) fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> RunningCommand {
        let mut command = self.command(arguments, variables);
        let host = value_of(variables, "HOST").and_then(|host| host.parse().ok());
        let port = value_of(variables, "PORT").and_then(|port| port.parse().ok());
        let reserved = (port == Some(0)).then(ReservedPort::new);
        if let Some(reserved) = &reserved {
            command.env("PORT", reserved.number());
        }
        let port = reserved
            .as_ref()
            .map(|reserved| reserved.address().port())
            .or(port);
        let host = host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Self::run_on(
            command,
            port.map(|port| SocketAddr::new(host, port)),
            reserved,
        )
    }

    /// Starts the command with a listening socket, passed as systemd does.
    pub(crate) fn start_with_socket(
        &self,
        socket: &TcpListener,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> RunningCommand {
        let real = self.command(arguments, variables);
        let mut command = Command::new("sh");
        // `exec` replaces the shell, so `$$` is the process id of the server.
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
        let address = socket.local_addr().expect("an address");
        let socket = OwnedFd::from(socket.try_clone().expect("a descriptor"));
        command
            .stdin(socket)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::run_on(command, Some(address), None)
    }

    fn run_on(
        mut command: Command,
        address: Option<SocketAddr>,
        reserved_port: Option<ReservedPort>,
    ) -> RunningCommand {
        let mut child = command.spawn().expect("the process starts");
        let out = OutputBuffer::read_from(child.stdout.take().expect("piped"));
        let err = OutputBuffer::read_from(child.stderr.take().expect("piped"));
        RunningCommand {
            child,
            stdout: out,
            stderr: err,
            address,
            _reserved_port: reserved_port,
        }
    }
}

/// Returns the value of a variable. The last one of a name counts.
fn value_of<'a>(variables: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    let mut latest_first = variables.iter().rev();
    latest_first
        .find(|(own, _)| *own == name)
        .map(|(_, value)| *value)
}

/// The bytes read from a pipe so far, possibly with an incomplete last line. A thread that reads
/// the pipe appends to them.
#[derive(Debug, Clone, Default)]
struct OutputBuffer(Arc<Mutex<Vec<u8>>>);

impl OutputBuffer {
    fn read_from(mut pipe: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let sink = output.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                sink.0
                    .lock()
                    .expect("no thread panics while holding the lock")
                    .extend_from_slice(&buffer[..n]);
            }
        });
        output
    }

    fn text(&self) -> String {
        String::from_utf8(
            self.0
                .lock()
                .expect("no thread panics while holding the lock")
                .clone(),
        )
        .expect("UTF-8")
    }

    /// Returns whether the output is complete: the reading thread has dropped its clone.
    fn is_complete(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Returns the first complete line that satisfies the condition.
    fn line(&self, satisfied: impl Fn(&str) -> bool) -> Option<String> {
        let text = self.text();
        let (complete, _) = text.rsplit_once('\n')?;
        complete
            .lines()
            .find(|line| satisfied(line))
            .map(ToOwned::to_owned)
    }
}

/// A command that is still running. Dropping the value kills it.
#[derive(Debug)]
pub(crate) struct RunningCommand {
    child: Child,
    stdout: OutputBuffer,
    stderr: OutputBuffer,
    /// The address that a server listens on.
    address: Option<SocketAddr>,
    _reserved_port: Option<ReservedPort>,
}

impl RunningCommand {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child process").is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("the process runs");
    }

    /// Waits until the command ends.
    pub(crate) async fn wait_for_exit(mut self) -> CommandOutput {
        wait_until("the command ends", async || self.has_ended()).await;
        let code = self.child.wait().expect("a child process").code();
        wait_until("the rest of its output", async || {
            self.stdout.is_complete() && self.stderr.is_complete()
        })
        .await;
        CommandOutput {
            code,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }

    /// Waits for a line on standard output.
    pub(crate) async fn wait_for_stdout(
        &self,
        what: &str,
        satisfied: impl Fn(&str) -> bool,
    ) -> String {
        self.wait_for_line(&self.stdout, what, satisfied).await
    }

    /// Waits for a line on standard error.
    pub(crate) async fn wait_for_stderr(
        &self,
        what: &str,
        satisfied: impl Fn(&str) -> bool,
    ) -> String {
        self.wait_for_line(&self.stderr, what, satisfied).await
    }

    async fn wait_for_line(
        &self,
        output: &OutputBuffer,
        what: &str,
        satisfied: impl Fn(&str) -> bool,
    ) -> String {
        let mut found = None;
        wait_until(what, async || {
            // Read this before the output, so that the last lines before the end still count.
            let is_over = self.stdout.is_complete() && self.stderr.is_complete();
            found = output.line(&satisfied);
            assert!(
                found.is_some() || !is_over,
                "it ended without printing {what}: {} {}",
                self.stdout.text(),
                self.stderr.text()
            );
            found.is_some()
        })
        .await;
        found.expect("found")
    }

    /// Returns everything that was written to standard error so far.
    pub(crate) fn stderr_text(&self) -> String {
        self.stderr.text()
    }

    /// Waits until the server accepts connections, and returns its address, which it was started
    /// with.
    pub(crate) async fn listen_address(&self) -> SocketAddr {
        let address = self.address.expect("a server was started on a port");
        self.wait_until_accepting(address).await;
        address
    }

    /// Waits until a connection to this address is accepted.
    pub(crate) async fn wait_until_accepting(&self, address: SocketAddr) {
        wait_until("it accepts connections", async || {
            let is_over = self.stdout.is_complete() && self.stderr.is_complete();
            assert!(
                !is_over,
                "it ended before it listened on {address}: {}",
                self.stderr.text()
            );
            TcpStream::connect(address).await.is_ok()
        })
        .await;
    }

    /// Waits until the server is ready, and returns its address. Before it has reached its database,
    /// it answers 503 to clients.
    pub(crate) async fn ready_address(&self) -> SocketAddr {
        let address = self.listen_address().await;
        let (http, url) = (http_client(), format!("http://{address}/ready"));
        wait_until("ready", async || {
            http.get(&url)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        address
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        let _ended_already = self.child.kill().and_then(|()| self.child.wait());
    }
}
