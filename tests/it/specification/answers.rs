//! Compares the responses of a running server with the document, for every status of every address
//! that a test can cause.

mod demo;
mod operators;
mod streams;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use latido::app::ReloadSource;
use latido::apps::APPS;
use latido::config::ConfigSources;
use latido_base::clock::Clock;
use latido_demo::{Demo, SqlExecutor};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::ApiDocument;
use crate::harness::claims::SECRET;
use crate::harness::{B1, TestApp};

const HOOK_KEY: &str = "a key for the hook, long enough";
const PAGE: &str = "https://panel.example.com";

/// The place of a WebSocket in its path item, beside the operations.
pub(super) const WEBSOCKET: &str = "x-websocket";

/// The statuses that no test here causes, each with the reason.
const UNSEEN: &[(&str, &str, &str)] = &[
    (
        "*",
        "503",
        "the server is full or stops, or its database is away: `http`'s own tests and `draining`",
    ),
    (
        "/notify/",
        "408",
        "takes as long as the hook's deadline: `http`'s own tests",
    ),
    (
        "/metrics",
        "404",
        "tests ask for metrics all the time: `app::config`",
    ),
    (
        "/notify/",
        "500",
        "needs a database that fails: `change_path`",
    ),
];

/// A demo database that works or fails as the test requires.
struct SwitchableDatabase(Arc<AtomicBool>);

impl SqlExecutor for SwitchableDatabase {
    fn execute<'a>(&'a self, _: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
        let works = self.0.load(Ordering::SeqCst);
        async move { if works { Ok(1) } else { anyhow::bail!("away") } }.boxed()
    }
}

/// The method, address and status of each observed response.
type SeenResponses = BTreeSet<(String, String, String)>;

/// The responses of a server, each verified against the document.
struct ResponseRecorder {
    app: TestApp,
    document: ApiDocument,
    seen: SeenResponses,
}

impl ResponseRecorder {
    async fn start(app: TestApp) -> Self {
        let document = ApiDocument::fetch(&app, "/openapi.json").await;
        Self {
            app,
            document,
            seen: BTreeSet::new(),
        }
    }

    /// Builds a request to a documented address, with its key filled in.
    fn ask(&self, method: &str, path: &str, key: &str) -> RequestBuilder {
        self.app.request(
            method.parse().expect("a method"),
            &path.replace("{negocio_id}", key),
        )
    }

    /// Sends a request. Asserts that the response has that status and matches the document.
    async fn expect(&mut self, status: u16, method: &str, path: &str, request: RequestBuilder) {
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), status, "{method} {path}");
        self.check_response(method, path, response).await;
    }

    async fn check_response(&mut self, method: &str, path: &str, response: Response) {
        let status = response.status().as_str().to_owned();
        let what = format!("{method} {path} {status}");
        let Self { document, seen, .. } = self;
        // An undocumented method is answered in the same way as every method of the address.
        let operations = document.0["paths"][path]
            .as_object()
            .unwrap_or_else(|| panic!("{path} is not documented"));
        let operation = operations
            .get(&method.to_lowercase())
            .or_else(|| operations.get(WEBSOCKET))
            .or_else(|| operations.values().find(|item| item.is_object()));
        let promised = document.resolve(&operation.expect("an operation")["responses"][&status]);
        assert!(promised.is_object(), "{what} is not documented");
        for (name, header) in promised["headers"].as_object().into_iter().flatten() {
            // Headers that are sent only sometimes are documented as such.
            let is_optional = document.resolve(header)["description"]
                .as_str()
                .is_some_and(|text| text.contains(", where") || text.contains("while"));
            assert!(
                is_optional || response.headers().contains_key(name),
                "{what}: {name} is missing"
            );
        }
        seen.insert((method.to_lowercase(), path.to_owned(), status));
        let content_type = response
            .headers()
            .get("content-type")
            .map(|value| value.to_str().expect("text").to_owned());
        let content_type = content_type
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        if content_type == "text/event-stream" {
            return assert!(promised["content"].get(&content_type).is_some(), "{what}");
        }
        let text = response.text().await.expect("a text");
        match promised.get("content") {
            Some(content) => {
                let schema = &content
                    .get(&content_type)
                    .unwrap_or_else(|| panic!("{what}: {content_type} is not documented"))["schema"];
                let body = if content_type == "application/json" {
                    serde_json::from_str(&text).expect("JSON")
                } else {
                    Value::from(text)
                };
                document.check(&what, schema, &body);
            }
            None => assert_eq!(text, "", "{what}"),
        }
    }

    /// Asserts that every undocumented method is refused, and that the error names the documented
    /// ones.
    async fn check_other_methods(&mut self) {
        let paths: Vec<_> = self.document.0["paths"]
            .as_object()
            .expect("paths")
            .keys()
            .cloned()
            .collect();
        for path in &paths {
            let documented: BTreeSet<String> = ["GET", "POST", "PUT", "PATCH", "DELETE"]
                .into_iter()
                .filter(|method| {
                    let item = &self.document.0["paths"][path];
                    item.get(method.to_lowercase()).is_some()
                        || (*method == "GET" && item.get(WEBSOCKET).is_some())
                })
                .map(str::to_owned)
                .collect();
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"]
                .into_iter()
                .filter(|method| !documented.contains(*method))
            {
                let response = self.ask(method, path, B1).send().await.expect("a response");
                assert_eq!(response.status(), 405, "{method} {path}");
                let allowed = response.headers()["allow"]
                    .to_str()
                    .expect("text")
                    .to_uppercase();
                let allowed = allowed
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .filter(|name| name != "HEAD");
                assert_eq!(allowed.collect::<BTreeSet<_>>(), documented, "{path}");
                let own = documented.first().expect("a method").clone();
                self.check_response(&own, path, response).await;
            }
        }
    }

    async fn check_other_routes(&mut self) {
        for path in ["/", "/openapi.json", "/asyncapi.json"] {
            self.expect(200, "GET", path, self.ask("GET", path, ""))
                .await;
            self.expect(
                304,
                "GET",
                path,
                self.ask("GET", path, "").header("if-none-match", "*"),
            )
            .await;
        }
        for path in ["/health", "/ready", "/metrics"] {
            self.expect(200, "GET", path, self.ask("GET", path, ""))
                .await;
        }
        self.expect(
            200,
            "GET",
            "/metrics",
            self.ask("GET", "/metrics", "")
                .header("accept", "application/openmetrics-text"),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_matches_the_document() {
    let works = Arc::new(AtomicBool::new(true));
    let with_operator = demo(&works).with_operator_tokens(|| Ok("ddd.eee.fff".into()));
    let variables = [("ALLOWED_ORIGINS", PAGE), ("NOTIFY_API_KEY", HOOK_KEY)];
    let app = TestApp::with_settings(&variables, |config| {
        config.demo = Some(Arc::new(with_operator))
    })
    .await;
    let mut recorder = ResponseRecorder::start(app).await;
    recorder.document.check_consistency();
    recorder.check_other_methods().await;
    recorder.check_statistics().await;
    recorder.check_channels().await;
    recorder.check_socket().await;
    recorder.check_hook().await;
    recorder.check_other_routes().await;
    recorder.check_operators().await;
    recorder.check_demo(&works).await;

    let mut limited = with_low_limits(recorder.seen).await;
    limited.check_absent_demo().await;
    limited.check_limits().await;
    let without_operator = demo(&works);
    let has_mistake = Arc::new(AtomicBool::new(false));
    let source = reload_source(Arc::clone(&has_mistake));
    let app = TestApp::with(|config| {
        config.demo = Some(Arc::new(without_operator));
        config.reload = Some(source);
    })
    .await;
    let mut recorder = ResponseRecorder::start(app).await;
    recorder.seen = limited.seen;
    recorder.check_demo_without_operator().await;
    recorder.check_reload(&has_mistake).await;
    assert_all_responses_seen(&recorder);
}

/// Returns a configuration that has a mistake while the flag is set.
fn reload_source(has_mistake: Arc<AtomicBool>) -> ReloadSource {
    ReloadSource::new(APPS, move || {
        let wrong = has_mistake.load(Ordering::SeqCst);
        let channels = if wrong { "many" } else { "100" };
        ConfigSources::from_variables(&[
            ("DATABASE_URL", "postgresql://localhost/latido"),
            ("JWT_SECRET", SECRET),
            ("MAX_CHANNELS", channels),
        ])
    })
}

/// Returns a demo in which no role is an admin's.
fn demo(works: &Arc<AtomicBool>) -> Demo {
    let database = SwitchableDatabase(Arc::clone(works));
    let token = || Ok("aaa.bbb.ccc".into());
    Demo::new(Arc::new(database), Clock::system(), TimeZone::UTC, token)
}

/// Starts a server without a demo, with low limits for hooks, and for connections and requests per
/// user.
async fn with_low_limits(seen: SeenResponses) -> ResponseRecorder {
    let app = TestApp::with(|config| {
        (config.http.hook_per_second, config.http.hook_burst) = (1, 1);
        config.http.max_connections_per_user = Some(1);
        config.http.max_requests_per_user = 1;
    });
    let mut recorder = ResponseRecorder::start(app.await).await;
    recorder.seen = seen;
    recorder
}

/// Asserts that every documented response was observed or is listed in [`UNSEEN`].
fn assert_all_responses_seen(recorder: &ResponseRecorder) {
    let mut missing = BTreeSet::new();
    for (path, item) in recorder.document.0["paths"].as_object().expect("paths") {
        for (method, operation) in item
            .as_object()
            .expect("operations")
            .iter()
            .filter(|(_, operation)| operation.get("responses").is_some())
        {
            let statuses = operation["responses"]
                .as_object()
                .expect("responses")
                .keys();
            let method = method.replace(WEBSOCKET, "get");
            missing.extend(statuses.map(|status| (method.clone(), path.clone(), status.clone())));
        }
    }
    missing.retain(|promise| !recorder.seen.contains(promise));
    missing.retain(|(_, path, status)| {
        !UNSEEN
            .iter()
            .any(|(start, code, _)| (*start == "*" || path.starts_with(start)) && status == code)
    });
    assert!(
        missing.is_empty(),
        "documented but never observed: {missing:#?}"
    );
}
