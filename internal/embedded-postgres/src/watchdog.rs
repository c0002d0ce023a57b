//! A shell process that stops the server when this process is gone, for any reason. The closing of
//! a pipe is the one message that `kill -9` cannot prevent.
//!
//! The shell reads lines from this process, each with the pid of the current server. At the end of
//! the input it empties the lock file, stops the server and removes the files that must not stay.
//! It holds the lock meanwhile, through its standard output.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::EmbeddedError;
use super::error::ErrorContext;
use super::file_lock::FileLock;

/// The watchdog's script. Its arguments are the data directory, the lock file, the name of the
/// first signal, and the paths to remove. It waits for `postmaster.pid` to vanish and not only for
/// the process, because a slow init keeps the process as a zombie. It also sends CONT, because a
/// paused server would not react to the other signals. It ignores the usual signals: only KILL from
/// this process may end the shell early.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
pid=
while read -r line; do pid=$line; done
data=$1 lock=$2 signal=$3
shift 3
: > "$lock"
[ -n "$pid" ] || { sleep 1; pid=$(sed -n 1p "$data/postmaster.pid"); }
running() { [ -e "$data/postmaster.pid" ] && kill -0 "$pid"; }
stopped_by() {
    kill -"$1" "$pid"
    kill -CONT "$pid"
    left=$2
    while running && [ "$left" -gt 0 ]; do sleep 0.05; left=$((left - 1)); done
    ! running
}
case $pid in
    '' | none) ;;
    *) stopped_by "$signal" 200 || stopped_by QUIT 140 || stopped_by KILL 20 ;;
esac
rm -rf -- "$@"
"#;

/// The shell that watches a server. Dropping it ends the shell and leaves the server alone.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts the shell before the server exists. `signal` is a name as in `kill -INT`.
    pub(super) fn spawn(
        data: &Path,
        lock: &FileLock,
        signal: &str,
        paths_to_remove: &[&Path],
    ) -> Result<Self, EmbeddedError> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "latido-watchdog"])
            .arg(data)
            .arg(lock.path())
            .arg(signal)
            .args(paths_to_remove);
        // It gets its own process group, because Ctrl-C would otherwise reach it together with this
        // process.
        command
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(lock.inheritable_handle()?)
            .stderr(Stdio::null());
        let shell = command
            .spawn()
            .context(|| "starting the watchdog with /bin/sh".into())?;
        Ok(Self { shell })
    }

    /// Sends the pid of the server to stop, or `none` while there is no server.
    pub(super) fn set_server_pid(&mut self, pid: Option<u32>) -> Result<(), EmbeddedError> {
        let line = pid.map_or_else(|| "none\n".to_owned(), |pid| format!("{pid}\n"));
        let written = self
            .shell
            .stdin
            .as_mut()
            .map_or(Ok(()), |pipe| pipe.write_all(line.as_bytes()));
        written.context(|| "writing to the watchdog".into())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // The shell is killed first: closing the pipe would make it stop the server.
        let _gone = self.shell.kill().and_then(|()| self.shell.wait());
    }
}
