//! The injected faults and their recovery.

use std::time::Duration;

use jiff::ToSpan;
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tokio::time::sleep;

use crate::chaos::deployment::Deployment;
use crate::chaos::fault::Fault;
use crate::harness::fault_proxy::ProxyMode;
use crate::harness::try_connect;

impl Fault {
    /// Applies the fault from its beginning to its end.
    pub(super) async fn apply(self, deployment: &mut Deployment, random: &mut fastrand::Rng) {
        match self {
            Self::Cut => {
                for _ in 0..random.u8(1..6) {
                    deployment.proxies[deployment.active_proxy].reset_all();
                    sleep(Duration::from_millis(random.u64(1..200))).await;
                }
            }
            Self::HalfOpen => deployment.proxies[deployment.active_proxy].half_open_all(),
            Self::Trickle => {
                with_mode(deployment, ProxyMode::Trickle, random.u64(500..1_500)).await
            }
            Self::Latency => {
                let mode = ProxyMode::Slow(Duration::from_millis(random.u64(20..200)));
                with_mode(deployment, mode, random.u64(500..2_000)).await;
            }
            Self::BlackHole => {
                with_mode(deployment, ProxyMode::BlackHole, random.u64(200..9_000)).await
            }
            Self::Terminate => terminate_backends(deployment, random).await,
            Self::FreezeDatabase => {
                deployment.cluster.pause();
                sleep(Duration::from_millis(random.u64(200..7_000))).await;
                deployment.cluster.resume();
            }
            Self::KillDatabase => {
                deployment.cluster.kill().await;
                sleep(Duration::from_millis(random.u64(0..1_000))).await;
                deployment.cluster.restart().await;
            }
            Self::DiskFull => fill_disk(deployment).await,
            Self::Failover => fail_over(deployment).await,
            Self::FreezeServer => freeze_server(deployment, random.u64(200..4_000)).await,
            Self::KillServer => {
                if let Some(process) = deployment.forget_process() {
                    process.signal(Signal::KILL);
                    process.wait_for_exit().await;
                }
                deployment.start_process().await;
            }
            Self::StopServer => {
                if let Some(process) = deployment.forget_process() {
                    process.signal(Signal::TERM);
                    assert_eq!(
                        process.wait_for_exit().await.code,
                        Some(0),
                        "the server stops in order"
                    );
                }
                deployment.start_process().await;
            }
            Self::ClockJump => jump_clock(deployment, random).await,
        }
    }
}

async fn with_mode(deployment: &Deployment, mode: ProxyMode, ms: u64) {
    deployment.proxies[deployment.active_proxy].set_mode(mode);
    sleep(Duration::from_millis(ms)).await;
    deployment.proxies[deployment.active_proxy].set_mode(ProxyMode::Pass);
}

async fn terminate_backends(deployment: &Deployment, random: &mut fastrand::Rng) {
    let Some(db) = try_connect(&deployment.cluster.url()).await else {
        return;
    };
    for _ in 0..random.u8(5..30) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE pid <> pg_backend_pid() AND datname = current_database() AND random() < 0.7";
        // A concurrent fault may have ended the connections first.
        let _ended = db.batch_execute(sql).await;
        sleep(Duration::from_millis(random.u64(1..80))).await;
    }
}

/// Limits the file size for every process of the server. PostgreSQL handles this like a full disk
/// (it ignores SIGXFSZ for this purpose): statements fail, and a failed write to the log makes the
/// server panic. It cannot restart until there is space again.
async fn fill_disk(deployment: &mut Deployment) {
    const ROOM_BYTES: u64 = 64 * 1024;
    let server = deployment.cluster.server_pid();
    for pid in child_pids(server).into_iter().chain([server]) {
        let limit = Rlimit {
            current: Some(ROOM_BYTES),
            maximum: None,
        };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // A backend may have ended meanwhile.
        let _gone = prlimit(pid, Resource::Fsize, limit);
    }
    sleep(Duration::from_millis(1_500)).await;
    deployment.cluster.kill().await;
    deployment.cluster.restart().await;
}

fn child_pids(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // The name in the second field may contain any character, even a parenthesis. The fourth field
    // is the second one after the last parenthesis.
    let parent_of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?
            .1
            .split(' ')
            .nth(1)?
            .parse::<u32>()
            .ok()
    };
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// Kills the database server and restarts it behind the other address.
async fn fail_over(deployment: &mut Deployment) {
    deployment.cluster.kill().await;
    deployment.proxies[deployment.active_proxy].set_mode(ProxyMode::Refuse);
    deployment.proxies[deployment.active_proxy].reset_all();
    deployment.active_proxy = 1 - deployment.active_proxy;
    deployment.cluster.restart().await;
    deployment.proxies[deployment.active_proxy].set_mode(ProxyMode::Pass);
}

async fn freeze_server(deployment: &Deployment, ms: u64) {
    let Some(process) = &deployment.process else {
        return;
    };
    process.signal(Signal::STOP);
    sleep(Duration::from_millis(ms)).await;
    process.signal(Signal::CONT);
}

/// Moves the clock to another day for a while. The tokens stay valid for longer than that.
async fn jump_clock(deployment: &Deployment, random: &mut fastrand::Rng) {
    let days = if random.bool() { 1 } else { -1 };
    let clock = deployment.app.clock();
    clock.set(
        clock
            .now()
            .saturating_add((days * 24).hours())
            .expect("in range"),
    );
    sleep(Duration::from_millis(random.u64(100..1_500))).await;
    clock.set(jiff::Timestamp::now());
}
