//! Stops the server when we are gone, whatever took us: the end of a pipe is the one message that `kill -9` can't stop.
//!
//! A shell reads lines from us, each the pid of the server that it guards now. At the end of the input it empties the
//! lock file, stops the server and removes what must not stay. It holds the lock meanwhile, through its output.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::EmbeddedError;
use super::error::Doing;
use super::lock::Lock;

/// Arguments: data directory, lock file, name of the first signal, then what to remove. It waits for `postmaster.pid`
/// to vanish and not only for the process, because under a slow init the process stays a zombie. A paused server gets
/// CONT, or it could not hear the rest. Nobody but our KILL may end the shell early, so it ignores the usual signals.
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

/// The shell that guards a server. Dropping it ends the guard without touching the server.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts the guard, before there is a server. `signal` is a name as in `kill -INT`.
    pub(super) fn spawn(
        data: &Path,
        lock: &Lock,
        signal: &str,
        litter: &[&Path],
    ) -> Result<Self, EmbeddedError> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "latido-watchdog"])
            .arg(data)
            .arg(lock.path())
            .arg(signal)
            .args(litter);
        // Its own group, or Ctrl-C would reach it together with us.
        command
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(lock.share()?)
            .stderr(Stdio::null());
        let shell = command
            .spawn()
            .doing(|| "starting the watchdog with /bin/sh".into())?;
        Ok(Self { shell })
    }

    /// Names the server to stop, or none while there isn't one.
    pub(super) fn guard(&mut self, pid: Option<u32>) -> Result<(), EmbeddedError> {
        let line = pid.map_or_else(|| "none\n".to_owned(), |pid| format!("{pid}\n"));
        let written = self
            .shell
            .stdin
            .as_mut()
            .map_or(Ok(()), |pipe| pipe.write_all(line.as_bytes()));
        written.doing(|| "speaking to the watchdog".into())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed first: closing the pipe would set it to work.
        let _gone = self.shell.kill().and_then(|()| self.shell.wait());
    }
}
