//! A complete server inside the test process, with a database of its own.

use std::net::SocketAddr;
use std::time::Duration;

use latido::app::{self, App, Config};
use latido::apps::{APPS, AppList};
use latido::config::{ConfigSources, Purpose, Settings};
use latido_base::clock::Clock;
use serde_json::{Value, json};
use tokio_postgres::{Client, GenericClient, NoTls};

use crate::harness::claims::{self, SECRET};
use crate::harness::cluster::{OwnCluster, TestDatabase};
use crate::harness::{TEST_TIMEOUT, TempFolder, TestSocket};

/// The first test business, which [`ADMIN_OF_B1`] owns.
pub(crate) const B1: &str = "6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";
pub(crate) const ADMIN_OF_B1: &str = "aaaaaaaa-0000-4000-8000-000000000001";
/// The second test business, which has no owner.
pub(crate) const B2: &str = "6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a22";
/// A user id without any permission.
pub(crate) const OTHER_USER: &str = "aaaaaaaa-0000-4000-8000-000000000002";
/// A user id with the role `admin_sistema` in the database.
pub(crate) const SYSTEM_ADMIN: &str = "aaaaaaaa-0000-4000-8000-000000000003";

/// The deadline for a shutdown. It is far longer than any shutdown that works.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(60);
const SCHEMA_FILES: [&str; 2] = ["sql/schema.sql", "tests/it/sql/people.sql"];

enum TestStore {
    Shared(TestDatabase),
    Own(Box<OwnCluster>),
    /// The database that another [`TestApp`] created and drops.
    External(String),
}

/// A running server with its database and an HTTP client. [`TestApp::stop`] and the drop both stop
/// the server and assert that nothing is left running.
pub(crate) struct TestApp {
    app: Option<App>,
    address: SocketAddr,
    clock: Clock,
    store: TestStore,
    http: reqwest::Client,
}

impl TestApp {
    /// Starts a server on the real schema with two businesses and triggers installed.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts the default test server with a changed configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_settings(&[], change).await
    }

    /// Starts the default test server with additional settings variables.
    pub(crate) async fn with_settings(
        variables: &[(&str, &str)],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let database = TestDatabase::create(&SCHEMA_FILES).await;
        install_triggers(database.url(), variables).await;
        let config = config(database.url(), variables, change);
        Self::run(TestStore::Shared(database), config).await
    }

    /// Starts a server that knows other apps than those of the build.
    pub(crate) async fn with_apps(apps: &AppList, variables: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create(&SCHEMA_FILES).await;
        install_triggers(database.url(), &[]).await;
        let settings = settings_for(apps, database.url(), variables);
        Self::run(TestStore::Shared(database), Config::new(settings)).await
    }

    /// Starts the default test server on a database without triggers.
    pub(crate) async fn without_triggers() -> Self {
        let database = TestDatabase::create(&SCHEMA_FILES).await;
        let config = config(database.url(), &[], |_| {});
        let app = Self::start_on(TestStore::Shared(database), config);
        app.wait_until_ready().await;
        app
    }

    /// Starts a server whose triggers always notify, because the interest gate is off.
    pub(crate) async fn without_interest_gate() -> Self {
        Self::with_settings(&[("INTEREST_GATE", "false")], |_| {}).await
    }

    /// Starts another server on the database of this one.
    pub(crate) async fn start_second(&self) -> Self {
        self.start_second_with(&[]).await
    }

    /// Starts another server on this database, with additional settings variables.
    pub(crate) async fn start_second_with(&self, variables: &[(&str, &str)]) -> Self {
        let config = config(&self.database_url(), variables, disable_sweep);
        Self::run(TestStore::External(self.database_url()), config).await
    }

    /// Starts a server on an existing database that another owner drops. The triggers must be
    /// installed.
    pub(crate) async fn on_database(url: &str) -> Self {
        Self::run(
            TestStore::External(url.to_owned()),
            config(url, &[], |_| {}),
        )
        .await
    }

    /// Starts a server on an existing database, with settings variables and a changed
    /// configuration.
    pub(crate) async fn on_database_with(
        url: &str,
        variables: &[(&str, &str)],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::run(
            TestStore::External(url.to_owned()),
            config(url, variables, change),
        )
        .await
    }

    /// Starts a server like [`TestApp::on_database_with`], without waiting for anything.
    pub(crate) fn start_on_database(
        url: &str,
        variables: &[(&str, &str)],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let config = config(url, variables, change);
        Self::start_on(TestStore::External(url.to_owned()), config)
    }

    /// Starts a server like [`TestApp::on_database_with`], whose streams are completed from the record
    /// of their installation, or from their queries.
    pub(crate) async fn on_database_completed(
        url: &str,
        variables: &[(&str, &str)],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let settings = app::complete_streams(settings(url, variables)).await;
        let config = configure(settings.expect("completed"), change);
        Self::run(TestStore::External(url.to_owned()), config).await
    }

    /// Installs the triggers in the database at `url`.
    pub(crate) async fn install_on(url: &str) {
        install_triggers(url, &[]).await;
    }

    /// Installs the triggers in the database at `url`, with these settings variables.
    pub(crate) async fn try_install_on(
        url: &str,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        app::install(settings(url, variables)).await.map(drop)
    }

    /// Starts a server on its own PostgreSQL cluster, which the test can kill and restart.
    pub(crate) async fn on_own_cluster() -> Self {
        let cluster = OwnCluster::start(&SCHEMA_FILES).await;
        install_triggers(&cluster.url(), &[]).await;
        let config = config(&cluster.url(), &[], |_| {});
        Self::run(TestStore::Own(Box::new(cluster)), config).await
    }

    /// Starts a server on its own PostgreSQL cluster after that cluster was killed.
    pub(crate) async fn on_stopped_cluster() -> Self {
        let mut cluster = OwnCluster::start(&SCHEMA_FILES).await;
        install_triggers(&cluster.url(), &[]).await;
        cluster.kill().await;
        let config = config(&cluster.url(), &[], |_| {});
        Self::start_on(TestStore::Own(Box::new(cluster)), config)
    }

    /// Starts a server on a `citas` table as in the documents, with keys of the given type. There
    /// are no tables of users or businesses.
    pub(crate) async fn on_simple_schema(key_type: &str) -> Self {
        let schema = format!(
            "CREATE TABLE citas (id serial PRIMARY KEY, negocio_id {key_type}, fecha date, estado text)"
        );
        let database = TestDatabase::create(&[]).await;
        database
            .client()
            .await
            .batch_execute(&schema)
            .await
            .expect("a schema");
        install_triggers(database.url(), &[]).await;
        let config = config(database.url(), &[], |_| {});
        Self::run(TestStore::Shared(database), config).await
    }

    /// Starts a server with the streams of a `latido.toml` and additional tables.
    pub(crate) async fn with_streams(toml: &str, schema: &str) -> Self {
        Self::with_streams_and(toml, schema, |_| {}).await
    }

    /// Starts a server like [`TestApp::with_streams`], with a changed configuration.
    pub(crate) async fn with_streams_and(
        toml: &str,
        schema: &str,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let database = TestDatabase::create(&SCHEMA_FILES).await;
        database
            .client()
            .await
            .batch_execute(schema)
            .await
            .expect("a schema");
        let folder = TempFolder::new();
        let file = folder.write("latido.toml", toml);
        let variables = [("LATIDO_CONFIG", file.to_str().expect("UTF-8"))];
        install_triggers(database.url(), &variables).await;
        let config = config(database.url(), &variables, change);
        Self::run(TestStore::Shared(database), config).await
    }

    async fn run(store: TestStore, config: Config) -> Self {
        let app = Self::start_on(store, config);
        app.wait_until_ready().await;
        app.wait_until_covered().await;
        app
    }

    fn start_on(store: TestStore, config: Config) -> Self {
        let app = App::start(config).expect("the server starts");
        Self {
            address: app.address(),
            clock: app.clock().clone(),
            app: Some(app),
            store,
            http: http_client(),
        }
    }

    /// Returns the server, which has not been stopped yet.
    pub(crate) fn running(&self) -> &App {
        self.app.as_ref().expect("the server runs")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the listen address of an app that is enabled.
    pub(crate) fn app_address(&self, app: &str) -> SocketAddr {
        self.running().app_address(app).expect("the app is enabled")
    }

    pub(crate) fn ws_url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// Returns the clock of the server, which tests may move.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the server's own cluster, so that a test can kill, restart or pause it.
    pub(crate) fn cluster(&mut self) -> &mut OwnCluster {
        match &mut self.store {
            TestStore::Own(cluster) => cluster,
            TestStore::Shared(_) | TestStore::External(_) => {
                panic!("this server shares its cluster")
            }
        }
    }

    pub(crate) fn database_url(&self) -> String {
        match &self.store {
            TestStore::Own(cluster) => cluster.url(),
            TestStore::Shared(database) => database.url().to_owned(),
            TestStore::External(url) => url.clone(),
        }
    }

    /// Runs `latido doctor` and returns its findings as debug text.
    pub(crate) async fn doctor_findings(&self, variables: &[(&str, &str)]) -> Vec<String> {
        let findings = app::doctor(settings(&self.database_url(), variables), false)
            .await
            .expect("the check runs");
        findings
            .iter()
            .map(|finding| format!("{finding:?}"))
            .collect()
    }

    /// Opens a new connection to the server's database.
    pub(crate) async fn connect_database(&self) -> Client {
        crate::harness::cluster::connect(&self.database_url()).await
    }

    /// Signs a token with any claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        claims::sign_with(SECRET, claims)
    }

    /// Signs a token with the claims that the REST API issues, valid for one hour.
    pub(crate) fn token(&self, user: &str) -> String {
        let now = claims::now();
        self.sign(&json!({"id": user, "email": "a@example.com", "jti": "1", "iat": now, "exp": now + 3600}))
    }

    /// Connects a dashboard client to `/ws`.
    pub(crate) async fn connect_socket(&self, token: &str) -> TestSocket {
        TestSocket::connect(&self.ws_url(), token).await
    }

    /// Books a cita the given number of days from today (UTC).
    pub(crate) async fn book(
        &self,
        db: &impl GenericClient,
        negocio: &str,
        estado: &str,
        days: i32,
    ) {
        db.batch_execute(&booking_sql(negocio, estado, days))
            .await
            .expect("booked");
    }

    /// Books a cita on a date (`YYYY-MM-DD`).
    pub(crate) async fn book_on(&self, db: &Client, negocio: &str, estado: &str, day: &str) {
        db.batch_execute(&insert_sql(negocio, estado, &format!("'{day}'")))
            .await
            .expect("booked");
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self
            .http
            .get(self.url(path))
            .send()
            .await
            .expect("a response");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a text"),
        )
    }

    /// Builds a request that the test completes and sends.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Calls the notification hook as the REST API does.
    pub(crate) async fn notify(&self, body: &Value) -> (u16, String) {
        let request = self
            .request(reqwest::Method::POST, "/notify/cita")
            .header("content-type", "application/json");
        let answer = request
            .body(body.to_string())
            .send()
            .await
            .expect("a response");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a text"),
        )
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops the server in order. Returns whether every client left before the deadline.
    pub(crate) async fn stop(&mut self) -> bool {
        self.app.take().expect("the server runs").stop().await
    }
}

/// Stops the server of every test and asserts that nothing keeps running, whatever the test did.
impl Drop for TestApp {
    fn drop(&mut self) {
        let Some(app) = self.app.take() else { return };
        let stopping = async { tokio::time::timeout(TEST_TIMEOUT, app.stop()).await };
        let ended =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(stopping));
        assert!(
            std::thread::panicking() || ended == Ok(true),
            "something of the server did not end: {ended:?}"
        );
    }
}

fn config(url: &str, variables: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Config {
    configure(settings(url, variables), change)
}

fn configure(settings: Settings, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::new(settings);
    // A busy machine must not make the deadline of an orderly shutdown pass.
    config.shutdown_timeout = SHUTDOWN_TIMEOUT;
    change(&mut config);
    config
}

/// Turns the sweep off, so that it neither repairs a missed change nor adds a read.
pub(crate) fn disable_sweep(config: &mut Config) {
    const HOUR: Duration = Duration::from_secs(3600);
    config.engine.sweep = HOUR;
    config.engine.sweep_without_notifications = HOUR;
}

/// Builds the settings of a server on that database.
pub(crate) fn settings(url: &str, variables: &[(&str, &str)]) -> Settings {
    settings_for(&APPS, url, variables)
}

/// Builds the settings of a server that knows these apps.
pub(crate) fn settings_for(apps: &AppList, url: &str, variables: &[(&str, &str)]) -> Settings {
    let fixed = [
        ("DATABASE_URL", url),
        ("JWT_SECRET", SECRET),
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
    ];
    let all: Vec<_> = fixed.iter().chain(variables).copied().collect();
    Settings::read_for(apps, &ConfigSources::from_variables(&all), Purpose::Serve)
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

async fn install_triggers(url: &str, variables: &[(&str, &str)]) {
    app::install(settings(url, variables))
        .await
        .expect("installed");
}

/// Returns the SQL that books a cita the given number of days from today (UTC).
pub(crate) fn booking_sql(negocio: &str, estado: &str, days: i32) -> String {
    insert_sql(
        negocio,
        estado,
        &format!("(now() AT TIME ZONE 'UTC')::date + {days}"),
    )
}

fn insert_sql(negocio: &str, estado: &str, day: &str) -> String {
    format!(
        "INSERT INTO citas (negocio_id, cliente_id, fecha, hora_inicio, hora_fin, estado)
         VALUES ('{negocio}', '{OTHER_USER}', {day}, '10:00', '10:30', '{estado}')"
    )
}

/// Opens a database connection. Returns `None` if no server answers.
pub(crate) async fn try_connect(url: &str) -> Option<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

/// Builds an HTTP client that ignores proxy variables.
pub(crate) fn http_client() -> reqwest::Client {
    // Another test may have installed the provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client")
}
