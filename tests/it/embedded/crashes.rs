//! Crashes of the test process, the server and the watchdog. No process may remain, and the next
//! run must work.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use latido_embedded_postgres::StorageMode;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{ScratchDir, is_alive, processes, query_value, settings, start};
use crate::harness::TEST_TIMEOUT;
use crate::harness::cluster::start_temporary_blocking;

/// The variable with the task of the re-executed test binary: a kind of storage, its directory, and
/// the file for its report.
const CHILD_TASK_VARIABLE: &str = "LATIDO_EMBEDDED_CHILD";

/// A child process with its own cluster, which the test kills.
struct CrashChild {
    process: Child,
    server: u32,
    url: String,
    socket: PathBuf,
    data: PathBuf,
}

impl CrashChild {
    fn start(kind: &str, scratch: &ScratchDir) -> Self {
        let report =
            env::temp_dir().join(format!("latido-it-report-{}-{kind}", std::process::id()));
        let task = format!("{kind}|{}|{}", scratch.path().display(), report.display());
        let me = module_path!().split_once("::").expect("inside a crate").1;
        let mut command = Command::new(env::current_exe().expect("known"));
        command
            .args([
                "--exact",
                &format!("{me}::child_process_that_waits_to_be_killed"),
                "--nocapture",
            ])
            .env(CHILD_TASK_VARIABLE, task);
        let process = command
            .stdout(Stdio::null())
            .spawn()
            .expect("the process starts");
        wait_for("the child's cluster runs", || report.exists());
        let text = fs::read_to_string(&report).expect("readable");
        fs::remove_file(&report).expect("removable");
        let mut lines = text.lines();
        let mut next = || lines.next().expect("a line").to_owned();
        let server = next().parse().expect("a pid");
        Self {
            process,
            server,
            url: next(),
            socket: next().into(),
            data: next().into(),
        }
    }

    fn kill(&mut self) {
        self.process.kill().expect("the process ran");
        self.process.wait().expect("a child process");
    }
}

impl Drop for CrashChild {
    fn drop(&mut self) {
        let _dead_already = self.process.kill().and_then(|()| self.process.wait());
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < TEST_TIMEOUT,
            "not within {TEST_TIMEOUT:?}: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

fn kill_by_pid(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid");
    kill_process(pid, Signal::KILL).expect("the process ran");
}

#[test]
fn child_process_that_waits_to_be_killed() {
    let Ok(task) = env::var(CHILD_TASK_VARIABLE) else {
        return;
    };
    let [kind, dir, report]: [&str; 3] = task.split('|').collect::<Vec<_>>().try_into().unwrap();
    let dir = PathBuf::from(dir);
    let persistent = kind.starts_with("persistent");
    let storage = if persistent {
        StorageMode::Persistent { dir }
    } else {
        StorageMode::Temporary { base: dir }
    };
    let cluster = start(&settings(storage));
    let (socket, data) = (cluster.socket_dir().display(), cluster.data_dir().display());
    let text = format!(
        "{}\n{}\n{socket}\n{data}\n",
        cluster.server_pid().unwrap(),
        cluster.url("postgres")
    );
    fs::write(format!("{report}.part"), text).unwrap();
    fs::rename(format!("{report}.part"), report).unwrap();
    thread::sleep(5 * TEST_TIMEOUT);
}

#[test]
fn killed_parent_stops_the_server_and_removes_temporary_data() {
    let scratch = ScratchDir::new();
    let mut victim = CrashChild::start("temporary", &scratch);
    let url = victim.url.clone();
    let busy = thread::spawn(move || {
        std::panic::catch_unwind(|| query_value(&url, "SELECT pg_sleep(600)"))
    });
    let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    wait_for("the query runs", || query_value(&victim.url, active) == "1");
    victim.kill();
    wait_for("the server is gone", || !is_alive(victim.server));
    wait_for("its folders are gone", || {
        scratch.remaining_files().is_empty() && !victim.socket.exists()
    });
    assert!(
        busy.join().unwrap().is_err(),
        "a query of ten minutes cannot have succeeded"
    );
}

#[test]
fn run_after_a_killed_one_waits_for_its_watchdog() {
    let scratch = ScratchDir::new();
    let settings = scratch.persistent_with_data();
    let mut victim = CrashChild::start("persistent", &scratch);
    query_value(&victim.url, "CREATE TABLE kept AS SELECT 7 AS n");
    victim.kill();
    let cluster = start(&settings);
    assert_eq!(
        query_value(&cluster.url("postgres"), "SELECT n FROM kept"),
        "7"
    );
    assert!(!is_alive(victim.server), "two servers on one directory");
    // The old watchdog has ended, so it cannot remove the new socket.
    assert!(cluster.socket_dir().exists() && cluster.data_dir() == victim.data);
}

#[test]
fn orphaned_server_is_stopped_by_the_next_run() {
    let scratch = ScratchDir::new();
    let settings = scratch.persistent_with_data();
    let mut victim = CrashChild::start("persistent-orphan", &scratch);
    let parent = victim.process.id();
    let is_watchdog = |(_, of, command): &(u32, u32, String)| {
        *of == parent && command.contains("latido-watchdog")
    };
    kill_by_pid(processes().into_iter().find(is_watchdog).unwrap().0);
    victim.kill();
    assert!(
        is_alive(victim.server),
        "without a watchdog it keeps running"
    );
    let cluster = start(&settings);
    assert_eq!(query_value(&cluster.url("postgres"), "SELECT 1"), "1");
    assert!(!is_alive(victim.server), "two servers on one directory");
}

#[test]
fn killed_server_recovers_at_the_same_address() {
    let scratch = ScratchDir::new();
    let settings = scratch.persistent_with_data();
    let mut cluster = start(&settings);
    let url = cluster.url("postgres");
    query_value(
        &url,
        "SET synchronous_commit = on; CREATE TABLE kept AS SELECT 7 AS n",
    );
    kill_by_pid(cluster.server_pid().unwrap());
    cluster.restart().unwrap();
    assert_eq!(query_value(&url, "SELECT n FROM kept"), "7");
    cluster.kill().unwrap();
    assert_eq!(cluster.server_pid(), None);
    drop(cluster);
    // The postmaster.pid names a dead process, and the socket folder is missing.
    assert_eq!(
        query_value(&start(&settings).url("postgres"), "SELECT n FROM kept"),
        "7"
    );
}

#[test]
fn permanently_killed_server_leaves_nothing_behind() {
    let scratch = ScratchDir::new();
    let mut cluster = start(&scratch.temporary());
    let data = cluster.data_dir().to_owned();
    // Line 7 of the file holds the key and the id of the System V segment.
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let segment = pid_file
        .lines()
        .nth(6)
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    cluster.kill().unwrap();
    drop(cluster);
    assert_eq!(scratch.remaining_files(), Vec::<String>::new());
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    assert!(
        !segments
            .lines()
            .any(|line| line.split_whitespace().nth(1) == Some(&segment)),
        "{segments}"
    );
}

#[test]
fn pid_file_of_a_reused_pid_does_not_block_the_start() {
    let scratch = ScratchDir::new();
    let settings = scratch.persistent_with_data();
    let mut cluster = start(&settings);
    let (data, socket) = (
        cluster.data_dir().to_owned(),
        cluster.socket_dir().to_owned(),
    );
    cluster.kill().unwrap();
    let pid_file = data.join("postmaster.pid");
    let about = fs::metadata(&data).unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    if geteuid().is_root() {
        sleep.uid(about.uid()).gid(about.gid());
    }
    let mut unrelated = sleep.spawn().unwrap();
    // Both files in which a server locks by pid: one in the data, one next to the socket.
    for path in [pid_file, socket.join(".s.PGSQL.5432.lock")] {
        let text = fs::read_to_string(&path).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        fs::write(&path, format!("{}\n{rest}", unrelated.id())).unwrap();
    }
    let outcome = cluster.restart();
    let is_unrelated_alive = is_alive(unrelated.id());
    unrelated.kill().and_then(|()| unrelated.wait()).unwrap();
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(is_unrelated_alive, "an unrelated process was signalled");
    assert_eq!(query_value(&cluster.url("postgres"), "SELECT 1"), "1");
}

#[test]
fn paused_server_can_be_stopped() {
    let cluster = start_temporary_blocking(None);
    let server = cluster.server_pid().unwrap();
    cluster.pause();
    cluster.stop().unwrap();
    assert!(!is_alive(server));
}
