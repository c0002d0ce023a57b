//! Another configuration is taken up while clients are connected: streams that were added, changed
//! or removed, and limits. No socket is closed.

mod asleep;
mod fresh_server;
mod mistakes;
mod repeated;
mod settings;
mod streams;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use latido::app::ReloadSource;
use latido::apps::APPS;
use latido::config::ConfigSources;
use latido_admin::{ReloadError, ReloadReport};
use serde_json::{Value, json};

use crate::harness::claims::{self, SECRET};
use crate::harness::cluster::{OwnCluster, TestDatabase};
use crate::harness::{TempFolder, TestApp, TestSocket, disable_sweep};

const TABLES: &str = "
    CREATE TABLE rows (k text NOT NULL, n int NOT NULL);
    CREATE INDEX ON rows (k);
    CREATE TABLE owners (id uuid, k text);
    INSERT INTO rows VALUES ('a', 1), ('a', 2), ('b', 5)";

/// Returns the table of a stream that aggregates `rows` of a key.
fn stream(name: &str, aggregate: &str) -> String {
    format!(
        r#"
        [streams.{name}]
        query = "SELECT u.k, s.* FROM unnest($1::text[]) AS u (k) CROSS JOIN LATERAL (SELECT {aggregate} AS n FROM rows r WHERE r.k = u.k) s"
        key_field = "k"
        [[streams.{name}.tables]]
        table = "rows"
        key = "k"
    "#
    )
}

/// Returns the whole file with these streams.
fn file(streams: &[(&str, &str)]) -> String {
    let tables = streams
        .iter()
        .map(|(name, aggregate)| stream(name, aggregate));
    format!("builtin_streams = false\n{}", tables.collect::<String>())
}

const COUNT: &str = "count(*)";
const SUM: &str = "coalesce(sum(r.n), 0)";
const MAX: &str = "max(r.n)";

/// Drops the database when the server has stopped.
enum Store {
    Shared(TestDatabase),
    Own(Box<OwnCluster>),
}

impl Store {
    fn url(&self) -> String {
        match self {
            Self::Shared(database) => database.url().to_owned(),
            Self::Own(cluster) => cluster.url(),
        }
    }
}

/// A server whose configuration a test changes.
struct Reloadable {
    app: TestApp,
    store: Store,
    folder: TempFolder,
    variables: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Reloadable {
    async fn start(toml: &str) -> Self {
        Self::start_with(toml, &[]).await
    }

    async fn start_with(toml: &str, more: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create(&[]).await;
        let db = database.client().await;
        db.batch_execute(TABLES).await.expect("a schema");
        Self::start_on(Store::Shared(database), toml, more).await
    }

    async fn start_on(store: Store, toml: &str, more: &[(&str, &str)]) -> Self {
        let folder = TempFolder::new();
        let path = folder.write("latido.toml", toml);
        let mut variables = vec![("LATIDO_CONFIG", path.to_str().expect("UTF-8"))];
        variables.extend(more);
        let url = store.url();
        TestApp::try_install_on(&url, &variables)
            .await
            .expect("installed");
        let fixed = [
            ("DATABASE_URL", &*url),
            ("JWT_SECRET", SECRET),
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
        ];
        let all = fixed.iter().chain(&variables);
        let all = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let current = Arc::new(Mutex::new(all.collect::<BTreeMap<_, _>>()));
        let read = Arc::clone(&current);
        let source = ReloadSource::new(APPS, move || {
            let variables = read.lock().expect("no panic");
            let variables = variables.iter().map(|(name, value)| (&**name, &**value));
            ConfigSources::from_variables(&variables.collect::<Vec<_>>())
        });
        let app = TestApp::on_database_completed(&url, &variables, |config| {
            disable_sweep(config);
            config.reload = Some(source);
        });
        Self {
            app: app.await,
            store,
            folder,
            variables: current,
        }
    }

    fn write(&self, toml: &str) {
        self.folder.write("latido.toml", toml);
    }

    fn set(&self, name: &str, value: &str) {
        let mut variables = self.variables.lock().expect("no panic");
        variables.insert(name.to_owned(), value.to_owned());
    }

    async fn try_reload(&self) -> Result<ReloadReport, ReloadError> {
        let result = self.app.running().reload().await;
        result.expect("a server with a configuration")
    }

    /// Takes up a file, and returns `+added ~changed -removed =unchanged`.
    async fn reload(&self, toml: &str) -> String {
        self.write(toml);
        let report = self.try_reload().await.expect("taken up");
        let lists = [
            ('+', report.added),
            ('~', report.changed),
            ('-', report.removed),
            ('=', report.unchanged),
        ];
        let names = lists.into_iter().flat_map(|(sign, mut names)| {
            names.sort();
            names.into_iter().map(move |name| format!("{sign}{name}"))
        });
        names.collect::<Vec<_>>().join(" ")
    }

    fn admin(&self) -> String {
        let claims = json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 600});
        self.app.sign(&claims)
    }

    async fn connect(&self) -> TestSocket {
        self.app.connect_socket(&self.admin()).await
    }

    async fn execute(&self, sql: &str) {
        let db = self.app.connect_database().await;
        db.batch_execute(sql).await.expect("a change");
    }

    /// Installs the triggers of the file's streams.
    async fn install(&self) {
        let path = self.folder.path().join("latido.toml");
        let variables = [("LATIDO_CONFIG", path.to_str().expect("UTF-8"))];
        let installed = TestApp::try_install_on(&self.store.url(), &variables).await;
        installed.expect("installed");
    }
}

/// Returns the next frame of the stream with this number.
async fn next_number(socket: &mut TestSocket, stream: &str) -> Value {
    socket.next_of_type(stream).await["data"]["n"].clone()
}
