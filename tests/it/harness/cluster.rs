//! A real PostgreSQL for every test: one server per test binary and one database per test. Nothing
//! is left at the end.
//!
//! The server is a copy of a cached template, in memory (`/dev/shm`) if there is room. Its watchdog
//! stops it when the test binary ends, because a static is never dropped. `TEST_DATABASE_URL` names
//! a server to use instead; its user must be allowed to create databases. A test that must kill,
//! restart or pause a server uses an [`OwnCluster`].

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use latido_embedded_postgres::{Cluster, EmbeddedError, EmbeddedSettings, StorageMode};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::spawn_blocking;
use tokio_postgres::{Client, NoTls};

use crate::harness::port::port_outside_ephemeral_range;

/// The minimum free space of the memory disk, in bytes. With less, tests that run at once could
/// fill it (Docker gives 64 MB).
const MIN_MEMORY_DISK_BYTES: u64 = 512 << 20;

static SERVER: OnceCell<SharedServer> = OnceCell::const_new();
static NEXT_ID: AtomicU32 = AtomicU32::new(0);
/// The name of the template database for each list of SQL texts. The lock is held while a template
/// is made, so each one is made only once.
static TEMPLATES: LazyLock<Mutex<HashMap<Vec<String>, String>>> = LazyLock::new(Mutex::default);

/// The server that all tests of this binary share.
#[derive(Debug)]
enum SharedServer {
    Embedded(Box<Cluster>),
    External(String),
}

impl SharedServer {
    async fn shared() -> &'static Self {
        let start = async || match env::var("TEST_DATABASE_URL") {
            Ok(url) => Self::External(url),
            Err(_) => Self::Embedded(Box::new(start_temporary(None).await)),
        };
        SERVER.get_or_init(start).await
    }

    fn url(&self, database: &str) -> String {
        match self {
            Self::Embedded(cluster) => cluster.url(database),
            Self::External(url) => with_database(url, database),
        }
    }

    fn admin_url(&self) -> String {
        match self {
            Self::Embedded(cluster) => cluster.url("postgres"),
            Self::External(url) => url.clone(),
        }
    }
}

/// A database for one test, which is dropped with this value.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    name: String,
    url: String,
    admin_url: String,
}

impl TestDatabase {
    /// Creates a database with these SQL files applied (paths from the package root, in this
    /// order).
    pub(crate) async fn create(sql_files: &[&str]) -> Self {
        let server = SharedServer::shared().await;
        let admin_url = server.admin_url();
        let name = format!(
            "t{}_{}",
            std::process::id(),
            NEXT_ID.fetch_add(1, Ordering::Relaxed)
        );
        let admin = connect(&admin_url).await;
        match server {
            SharedServer::Embedded(cluster) => {
                let template = template_for(cluster, &admin, sql_files).await;
                // Since version 15: copying files beats the write-ahead log when nothing is synced.
                let strategy = if cluster.major() >= 15 {
                    "STRATEGY FILE_COPY"
                } else {
                    ""
                };
                execute_sql(
                    &admin,
                    &format!("CREATE DATABASE {name} TEMPLATE {template} {strategy}"),
                )
                .await;
            }
            // No template database is left behind on an external server.
            SharedServer::External(_) => {
                execute_sql(&admin, &format!("CREATE DATABASE {name}")).await;
                apply_sql(&server.url(&name), &read_all(sql_files)).await;
            }
        }
        Self {
            url: server.url(&name),
            name,
            admin_url,
        }
    }

    /// Creates an empty database with these options of CREATE DATABASE, such as a locale. Returns
    /// `None` if the server does not know them.
    pub(crate) async fn create_with(options: &str) -> Option<Self> {
        let server = SharedServer::shared().await;
        let admin_url = server.admin_url();
        let number = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}_{number}", std::process::id());
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 {options}");
        connect(&admin_url)
            .await
            .batch_execute(&create)
            .await
            .ok()?;
        Some(Self {
            url: server.url(&name),
            name,
            admin_url,
        })
    }

    /// Returns the connection URL of the database.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Opens a new connection, driven by the current runtime.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (admin_url, sql) = (
            self.admin_url.clone(),
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
        );
        // The current runtime may be about to end, so the drop uses a thread and a runtime of its
        // own.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(async { execute_sql(&connect(&admin_url).await, &sql).await });
        });
        let outcome = dropping.join();
        assert!(
            outcome.is_ok() || std::thread::panicking(),
            "the database {} was not dropped",
            self.name
        );
    }
}

/// A PostgreSQL server for one test, which can be killed, restarted or paused. It has one database,
/// `latido`.
#[derive(Debug)]
pub(crate) struct OwnCluster {
    // The value is `None` only while a blocking call owns the cluster.
    cluster: Option<Cluster>,
}

impl OwnCluster {
    /// Starts a server without TCP, with these SQL files applied.
    pub(crate) async fn start(sql_files: &[&str]) -> Self {
        Self::start_on(None, sql_files).await
    }

    /// Starts a server that also listens on a loopback port, for faults that only TCP has. The port
    /// stays free while the server is down: outgoing connections of other tests never get it.
    pub(crate) async fn start_with_tcp(sql_files: &[&str]) -> Self {
        Self::start_on(Some(port_outside_ephemeral_range()), sql_files).await
    }

    async fn start_on(tcp_port: Option<u16>, sql_files: &[&str]) -> Self {
        let cluster = start_temporary(tcp_port).await;
        execute_sql(
            &connect(&cluster.url("postgres")).await,
            "CREATE DATABASE latido",
        )
        .await;
        apply_sql(&cluster.url("latido"), &read_all(sql_files)).await;
        Self {
            cluster: Some(cluster),
        }
    }

    fn cluster(&self) -> &Cluster {
        self.cluster
            .as_ref()
            .expect("no blocking call was cancelled")
    }

    /// Returns the URL of its database over the Unix socket. A restart does not change it.
    pub(crate) fn url(&self) -> String {
        self.cluster().url("latido")
    }

    /// Returns the URL of its database over TCP.
    pub(crate) fn tcp_url(&self) -> String {
        self.cluster().tcp_url("latido").expect("started with TCP")
    }

    /// Opens a new connection to its database.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    /// Returns the data directory. The server user must be able to read every file that a test puts
    /// there.
    pub(crate) fn data_dir(&self) -> &Path {
        self.cluster().data_dir()
    }

    /// Returns the process id of the PostgreSQL server.
    pub(crate) fn server_pid(&self) -> u32 {
        self.cluster().server_pid().expect("the server runs")
    }

    /// Kills the server at once, as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.run_blocking(Cluster::kill).await;
    }

    /// Restarts the server after it was killed.
    pub(crate) async fn restart(&mut self) {
        self.run_blocking(Cluster::restart).await;
    }

    /// Freezes the server: connections stay open and nothing answers.
    pub(crate) fn pause(&self) {
        self.cluster().pause();
    }

    /// Resumes the server after a pause.
    pub(crate) fn resume(&self) {
        self.cluster().resume();
    }

    async fn run_blocking(&mut self, act: fn(&mut Cluster) -> Result<(), EmbeddedError>) {
        let mut cluster = self.cluster.take().expect("no blocking call was cancelled");
        let acting = spawn_blocking(move || (act(&mut cluster), cluster));
        let (outcome, cluster) = acting.await.expect("the call does not panic");
        self.cluster = Some(cluster);
        outcome.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Connects, and drives the connection on the current runtime.
pub(crate) async fn connect(url: &str) -> Client {
    let connecting = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) =
        connecting.unwrap_or_else(|error| panic!("connecting to {url}: {error}"));
    tokio::spawn(connection);
    client
}

/// Returns the directories for temporary clusters, best first: memory if there is room, then the
/// target directory, then `/tmp` for a root whose target directory is closed to the server user.
fn temporary_bases() -> Vec<PathBuf> {
    let name = format!("latido-{}", rustix::process::geteuid().as_raw());
    let roomy = |dir: &&str| {
        rustix::fs::statvfs(*dir)
            .is_ok_and(|disk| disk.f_bavail * disk.f_frsize > MIN_MEMORY_DISK_BYTES)
    };
    let memory = ["/dev/shm"].into_iter().filter(roomy);
    let places = memory.chain([env!("CARGO_TARGET_TMPDIR"), "/tmp"]);
    places.map(|place| Path::new(place).join(&name)).collect()
}

async fn start_temporary(tcp_port: Option<u16>) -> Cluster {
    spawn_blocking(move || start_temporary_blocking(tcp_port))
        .await
        .expect("a cluster starts")
}

/// Starts a temporary cluster in the best directory, for tests without a runtime.
pub(crate) fn start_temporary_blocking(tcp_port: Option<u16>) -> Cluster {
    let attempts = temporary_bases().into_iter().map(|base| {
        let mut settings = EmbeddedSettings::new(StorageMode::Temporary { base });
        settings.bin_dir = env::var_os("PG_BIN").map(PathBuf::from);
        settings.tcp_port = tcp_port;
        Cluster::start(&settings)
    });
    let mut usable =
        attempts.skip_while(|outcome| matches!(outcome, Err(EmbeddedError::Unreachable { .. })));
    match usable.next() {
        Some(Ok(cluster)) => cluster,
        Some(Err(error)) => panic!("{error}"),
        None => panic!("PostgreSQL's user can enter neither the target directory nor /tmp"),
    }
}

/// Returns the template database for these files and creates it at the first use. PostgreSQL copies
/// a template only while no session is connected to it.
async fn template_for(cluster: &Cluster, admin: &Client, sql_files: &[&str]) -> String {
    let sql = read_all(sql_files);
    let mut baked = TEMPLATES.lock().await;
    if let Some(name) = baked.get(&sql) {
        return name.clone();
    }
    // The number counts attempts, not successes: a file that fails leaves its database behind.
    let name = format!("baked_{}", NEXT_ID.fetch_add(1, Ordering::Relaxed));
    execute_sql(admin, &format!("CREATE DATABASE {name}")).await;
    apply_sql(&cluster.url(&name), &sql).await;
    baked.insert(sql, name.clone());
    name
}

/// Applies SQL over one connection and waits until that connection is closed.
async fn apply_sql(url: &str, sql: &[String]) {
    let connecting = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) =
        connecting.unwrap_or_else(|error| panic!("connecting to {url}: {error}"));
    let driven = tokio::spawn(connection);
    for text in sql {
        execute_sql(&client, text).await;
    }
    // The server notices the close a little later. CREATE DATABASE itself waits for that, up to 5
    // s.
    drop(client);
    driven
        .await
        .expect("the connection does not panic")
        .expect("the server shuts down cleanly");
}

async fn execute_sql(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        let start: String = sql.chars().take(200).collect();
        panic!("{error:?} in: {start}");
    }
}

fn read_all(sql_files: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &&str| {
        fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    sql_files.iter().map(read).collect()
}

/// Returns the same URL (or `key=value` string) with another database.
fn with_database(url: &str, database: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return format!("{url} dbname={database}");
    };
    let (place, parameters) = rest
        .split_once('?')
        .map_or((rest, String::new()), |(a, b)| (a, format!("?{b}")));
    let host = place.split_once('/').map_or(place, |(host, _)| host);
    format!("{scheme}://{host}/{database}{parameters}")
}

#[tokio::test]
async fn each_test_has_its_own_database() {
    let (one, two) = tokio::join!(
        TestDatabase::create(&["sql/schema.sql"]),
        TestDatabase::create(&["sql/schema.sql"])
    );
    one.client()
        .await
        .batch_execute("CREATE TABLE only_here ()")
        .await
        .unwrap();
    two.client()
        .await
        .batch_execute("CREATE TABLE only_here ()")
        .await
        .unwrap();
    assert_ne!(one.url(), two.url());
    let (name, admin) = (one.name.clone(), connect(&one.admin_url).await);
    drop(one);
    let rows = admin
        .query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])
        .await
        .unwrap();
    assert!(rows.is_empty(), "the database outlived its test");
}

#[tokio::test]
async fn own_cluster_restarts_at_the_same_address() {
    let mut cluster = OwnCluster::start_with_tcp(&[]).await;
    let (url, client) = (cluster.url(), cluster.client().await);
    client.batch_execute("CREATE TABLE kept ()").await.unwrap();
    cluster.kill().await;
    assert!(
        client.simple_query("SELECT 1").await.is_err(),
        "the server has ended"
    );
    cluster.restart().await;
    assert_eq!(cluster.url(), url);
    cluster
        .client()
        .await
        .simple_query("SELECT * FROM kept")
        .await
        .expect("committed data is recovered");
    connect(&cluster.tcp_url())
        .await
        .simple_query("SELECT 1")
        .await
        .expect("TCP is back on the same port");
}

#[tokio::test]
async fn paused_cluster_answers_after_resume() {
    let cluster = OwnCluster::start(&[]).await;
    let client = cluster.client().await;
    cluster.pause();
    let mut answer = std::pin::pin!(client.simple_query("SELECT 1"));
    let soon = tokio::time::timeout(std::time::Duration::from_millis(100), answer.as_mut()).await;
    assert!(soon.is_err(), "the server answered while it was paused");
    cluster.resume();
    answer.await.expect("the server answers after it resumes");
}

#[test]
fn with_database_replaces_only_the_database() {
    assert_eq!(
        with_database("postgresql://u:p@h:1/a?sslmode=disable", "b"),
        "postgresql://u:p@h:1/b?sslmode=disable"
    );
    assert_eq!(with_database("postgres://h", "b"), "postgres://h/b");
    assert_eq!(
        with_database("postgres:///a?host=/tmp/x", "b"),
        "postgres:///b?host=/tmp/x"
    );
    assert_eq!(
        with_database("host=h dbname=a", "b"),
        "host=h dbname=a dbname=b"
    );
}
