//! A temporary cluster. (To become the common harness's: everything about starting one is here.)

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Starts a server whose life hangs on our standard input: when we are gone, however, it goes and its folder too.
const SCRIPT: &str = r#"
set -e
trap '' INT TERM HUP
export PATH=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1):$PATH
dir=$1; shift
initdb -D "$dir/data" -A trust -U postgres --no-sync -E UTF8 --locale=C.UTF-8 >"$dir/initdb.log"
pg_ctl -D "$dir/data" -w -l "$dir/server.log" -o "-k $dir $*" start >/dev/null
echo ready
while read -r command; do
  case "$command" in restart) pg_ctl -D "$dir/data" -w -m immediate restart >/dev/null 2>&1; echo ready;; esac
done
pg_ctl -D "$dir/data" -m immediate stop >/dev/null 2>&1
rm -rf "$dir"
"#;

/// A private server on a Unix socket.
pub(crate) struct Cluster {
    pub(crate) dir: PathBuf,
    supervisor: Child,
    output: std::io::BufReader<std::process::ChildStdout>,
}

impl Cluster {
    /// The one that most tests share, a database each.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("shared", "-c listen_addresses= -c fsync=off -c max_connections=200"))
    }

    pub(crate) fn start(name: &str, settings: &str) -> Self {
        let root = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let dir = root.join(format!("latido-it-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
        let mut command = Command::new(if is_root { "runuser" } else { "sh" });
        if is_root {
            assert!(Command::new("chown").arg("postgres").arg(&dir).status().unwrap().success());
            command.args(["-u", "postgres", "--", "sh"]);
        }
        let command = command.args(["-c", SCRIPT, "cluster"]).arg(&dir).arg(settings).current_dir("/");
        let mut supervisor = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = std::io::BufReader::new(supervisor.stdout.take().unwrap());
        let mut cluster = Self { dir, supervisor, output };
        cluster.wait_ready();
        cluster
    }

    fn wait_ready(&mut self) {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut self.output, &mut line).unwrap();
        assert_eq!(line, "ready\n", "the cluster in {} did not start", self.dir.display());
    }

    /// As a crash would: nothing is said to clients.
    pub(crate) fn restart(&mut self) {
        self.supervisor.stdin.as_mut().unwrap().write_all(b"restart\n").unwrap();
        self.wait_ready();
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@/{database}?host={}", self.dir.display())
    }

    pub(crate) async fn create_database(&self, name: &str) -> String {
        super::connect(&self.url("postgres")).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        self.url(name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}
