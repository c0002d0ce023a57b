//! A real PostgreSQL for every test: one server a test binary, one database a test, nothing left at the end.
//!
//! The server is a copy of a cached template in memory (`/dev/shm`) where there is room. It is stopped by its watchdog
//! when the test binary ends, because a static is never dropped. `TEST_DATABASE_URL` names a server to use instead;
//! its user must be allowed to create databases. Whoever has to kill, restart or pause a server takes an [`OwnCluster`].

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use latido::postgres::embedded::{Cluster, EmbeddedError, Settings, Storage};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::spawn_blocking;
use tokio_postgres::{Client, NoTls};

/// Less than this and tests that run at once could fill the memory disk (Docker gives 64 MB).
const ROOMY_BYTES: u64 = 512 << 20;

static SERVER: OnceCell<Server> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);
/// Name of the template database for each list of SQL. The lock is held while one is made, so it is made once.
static BAKED: LazyLock<Mutex<HashMap<Vec<String>, String>>> = LazyLock::new(Mutex::default);

/// The server that all tests of this binary share.
#[derive(Debug)]
enum Server {
    Ours(Box<Cluster>),
    Given(String),
}

impl Server {
    async fn shared() -> &'static Self {
        let start = async || match env::var("TEST_DATABASE_URL") {
            Ok(url) => Self::Given(url),
            Err(_) => Self::Ours(Box::new(start_temporary(None).await)),
        };
        SERVER.get_or_init(start).await
    }

    fn url(&self, database: &str) -> String {
        match self {
            Self::Ours(cluster) => cluster.url(database),
            Self::Given(url) => with_database(url, database),
        }
    }

    fn admin_url(&self) -> String {
        match self {
            Self::Ours(cluster) => cluster.url("postgres"),
            Self::Given(url) => url.clone(),
        }
    }
}

/// A database of one test's own, dropped with this value.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    name: String,
    url: String,
    admin_url: String,
}

impl TestDatabase {
    /// A database with these SQL files applied (paths from the package's root, in this order).
    pub(crate) async fn create(sql_files: &[&str]) -> Self {
        let server = Server::shared().await;
        let admin_url = server.admin_url();
        let name = format!(
            "t{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let admin = connect(&admin_url).await;
        match server {
            Server::Ours(cluster) => {
                let template = baked(cluster, &admin, sql_files).await;
                // From 15 on: copying files beats the log when nothing is synced.
                let strategy = if cluster.major() >= 15 {
                    "STRATEGY FILE_COPY"
                } else {
                    ""
                };
                run(
                    &admin,
                    &format!("CREATE DATABASE {name} TEMPLATE {template} {strategy}"),
                )
                .await;
            }
            // No template is left on a server that isn't ours.
            Server::Given(_) => {
                run(&admin, &format!("CREATE DATABASE {name}")).await;
                apply(&server.url(&name), &read_all(sql_files)).await;
            }
        }
        Self {
            url: server.url(&name),
            name,
            admin_url,
        }
    }

    /// Where the database is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A new connection to it, driven by the current runtime.
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
        // We may be inside a runtime that is about to end: the drop gets a thread and a runtime of its own.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(async { run(&connect(&admin_url).await, &sql).await });
        });
        let outcome = dropping.join();
        assert!(
            outcome.is_ok() || std::thread::panicking(),
            "the database {} was not dropped",
            self.name
        );
    }
}

/// A server of one test's own, to be killed, restarted or paused; with one database, `latido`.
#[derive(Debug)]
pub(crate) struct OwnCluster {
    // None only while a blocking call has it.
    cluster: Option<Cluster>,
}

impl OwnCluster {
    /// A server without TCP, with these SQL files applied.
    pub(crate) async fn start(sql_files: &[&str]) -> Self {
        Self::start_on(None, sql_files).await
    }

    /// A server that listens on a free loopback port too, for faults that only TCP has.
    pub(crate) async fn start_with_tcp(sql_files: &[&str]) -> Self {
        Self::start_on(Some(0), sql_files).await
    }

    async fn start_on(tcp_port: Option<u16>, sql_files: &[&str]) -> Self {
        let cluster = start_temporary(tcp_port).await;
        run(
            &connect(&cluster.url("postgres")).await,
            "CREATE DATABASE latido",
        )
        .await;
        apply(&cluster.url("latido"), &read_all(sql_files)).await;
        Self {
            cluster: Some(cluster),
        }
    }

    fn cluster(&self) -> &Cluster {
        self.cluster
            .as_ref()
            .expect("no blocking call was cancelled")
    }

    /// Where its database is, through the socket. It stays the same over a restart.
    pub(crate) fn url(&self) -> String {
        self.cluster().url("latido")
    }

    /// Where its database is, through TCP.
    pub(crate) fn tcp_url(&self) -> String {
        self.cluster().tcp_url("latido").expect("started with TCP")
    }

    /// A new connection to its database.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    /// Where its files are: what is put there, the server must be able to read.
    pub(crate) fn data_dir(&self) -> &Path {
        self.cluster().data_dir()
    }

    /// The server's own process.
    pub(crate) fn server_pid(&self) -> u32 {
        self.cluster().server_pid().expect("it runs")
    }

    /// Ends the server at once, as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.blocking(Cluster::kill).await;
    }

    /// Starts it again.
    pub(crate) async fn restart(&mut self) {
        self.blocking(Cluster::restart).await;
    }

    /// Freezes it: connections stay and nothing answers.
    pub(crate) fn pause(&self) {
        self.cluster().pause();
    }

    /// Ends a pause.
    pub(crate) fn resume(&self) {
        self.cluster().resume();
    }

    async fn blocking(&mut self, act: fn(&mut Cluster) -> Result<(), EmbeddedError>) {
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

/// Where temporary clusters live, best place first: in memory if there is room, in the target directory, and in `/tmp`
/// for a root whose target directory is closed to the server's user.
fn bases() -> Vec<PathBuf> {
    let name = format!("latido-{}", rustix::process::geteuid().as_raw());
    let roomy = |dir: &&str| {
        rustix::fs::statvfs(*dir).is_ok_and(|disk| disk.f_bavail * disk.f_frsize > ROOMY_BYTES)
    };
    let memory = ["/dev/shm"].into_iter().filter(roomy);
    let places = memory.chain([env!("CARGO_TARGET_TMPDIR"), "/tmp"]);
    places.map(|place| Path::new(place).join(&name)).collect()
}

async fn start_temporary(tcp_port: Option<u16>) -> Cluster {
    spawn_blocking(move || start_blocking(tcp_port))
        .await
        .expect("a cluster starts")
}

/// Starts a temporary cluster at the best place, for tests without a runtime.
pub(crate) fn start_blocking(tcp_port: Option<u16>) -> Cluster {
    let attempts = bases().into_iter().map(|base| {
        let mut settings = Settings::new(Storage::Temporary { base });
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

/// The template database for these files, made at their first use. Nobody may be connected to it when it is copied.
async fn baked(cluster: &Cluster, admin: &Client, sql_files: &[&str]) -> String {
    let sql = read_all(sql_files);
    let mut baked = BAKED.lock().await;
    if let Some(name) = baked.get(&sql) {
        return name.clone();
    }
    // The number counts attempts, not successes: a file that fails leaves its database behind.
    let name = format!("baked_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    run(admin, &format!("CREATE DATABASE {name}")).await;
    apply(&cluster.url(&name), &sql).await;
    baked.insert(sql, name.clone());
    name
}

/// Applies SQL over one connection and waits until that is closed.
async fn apply(url: &str, sql: &[String]) {
    let connecting = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) =
        connecting.unwrap_or_else(|error| panic!("connecting to {url}: {error}"));
    let driven = tokio::spawn(connection);
    for text in sql {
        run(&client, text).await;
    }
    // Closing is heard by the server a little later; CREATE DATABASE itself waits for that, up to 5 s.
    drop(client);
    driven
        .await
        .expect("the connection does not panic")
        .expect("it closes cleanly");
}

async fn run(client: &Client, sql: &str) {
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

/// The same URL (or `key=value` string) with another database.
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
async fn each_test_has_a_database_of_its_own() {
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
async fn an_own_cluster_comes_back_where_it_was() {
    let mut cluster = OwnCluster::start_with_tcp(&[]).await;
    let (url, client) = (cluster.url(), cluster.client().await);
    client.batch_execute("CREATE TABLE kept ()").await.unwrap();
    cluster.kill().await;
    assert!(
        client.simple_query("SELECT 1").await.is_err(),
        "the server is dead"
    );
    cluster.restart().await;
    assert_eq!(cluster.url(), url);
    cluster
        .client()
        .await
        .simple_query("SELECT * FROM kept")
        .await
        .expect("what was written is recovered");
    connect(&cluster.tcp_url())
        .await
        .simple_query("SELECT 1")
        .await
        .expect("TCP is back on the same port");
}

#[tokio::test]
async fn a_paused_cluster_answers_later() {
    let cluster = OwnCluster::start(&[]).await;
    let client = cluster.client().await;
    cluster.pause();
    let mut answer = std::pin::pin!(client.simple_query("SELECT 1"));
    let soon = tokio::time::timeout(std::time::Duration::from_millis(100), answer.as_mut()).await;
    assert!(soon.is_err(), "it answered while it was paused");
    cluster.resume();
    answer.await.expect("it answers once it may");
}

#[test]
fn only_the_database_of_a_url_is_replaced() {
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
