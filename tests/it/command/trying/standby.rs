//! A hot standby: a copy of a server's files that only replays.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::NoTls;

use crate::harness::cluster::OwnCluster;
use crate::harness::wait_until;

/// A running standby. Dropping the value ends it.
pub(super) struct Standby {
    server: CopiedServer,
    /// The address of its database for the superuser.
    pub(super) url: String,
}

impl Standby {
    /// Copies a server, which is killed, and starts the copy as a standby.
    pub(super) async fn start(cluster: &mut OwnCluster) -> Self {
        let program = fs::read_link(format!("/proc/{}/exe", cluster.server_pid())).unwrap();
        let checkpoint = cluster.client().await.batch_execute("CHECKPOINT").await;
        checkpoint.unwrap();
        cluster.kill().await;
        let data = cluster.data_dir().with_extension("standby");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(cluster.data_dir())
            .arg(&data)
            .status();
        assert!(copied.unwrap().success());
        fs::remove_file(data.join("postmaster.pid")).unwrap();
        let url = format!(
            "postgresql://postgres@/latido?host={}",
            data.to_str().expect("UTF-8")
        );
        // A standby needs files of this level, which a first start writes.
        let mut first = CopiedServer::start(&program, &data);
        wait_until_connected(&url).await;
        first.stop();
        fs::write(data.join("standby.signal"), "").unwrap();
        let standby = Self {
            server: CopiedServer::start(&program, &data),
            url,
        };
        wait_until_connected(&standby.url).await;
        standby
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.server.stop();
        let _absent = fs::remove_dir_all(&self.server.data);
    }
}

struct CopiedServer {
    child: Child,
    data: PathBuf,
}

impl CopiedServer {
    fn start(program: &Path, data: &Path) -> Self {
        let owner = fs::metadata(data).unwrap();
        let mut command = Command::new(program);
        command.arg("-D").arg(data).arg("-k").arg(data);
        for setting in [
            "listen_addresses=",
            "wal_level=replica",
            "fsync=off",
            "shared_buffers=16MB",
            "max_connections=200",
            "dynamic_shared_memory_type=mmap",
        ] {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        Self {
            child: command.spawn().expect("the copy starts"),
            data: data.to_owned(),
        }
    }

    fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ended_already = pid.map(|pid| kill_process(pid, Signal::INT));
        let _ended_already = self.child.wait();
    }
}

async fn wait_until_connected(url: &str) {
    wait_until("the copy accepts connections", async || {
        tokio_postgres::connect(url, NoTls).await.is_ok()
    })
    .await;
}
