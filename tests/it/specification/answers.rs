//! Compares the responses of a running server with the document, for every status of every address
//! that a test can cause.

mod operators;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use latido_base::clock::Clock;
use latido_demo::{Demo, SqlExecutor};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::ApiDocument;
use crate::harness::{ADMIN_OF_B1, B1, OTHER_USER, TestApp, claims};

const HOOK_KEY: &str = "a key for the hook, long enough";
const PAGE: &str = "https://panel.example.com";
const READ: &str = "/estadisticas/{negocio_id}";
const FOLLOW: &str = "/estadisticas/{negocio_id}/events";
const HOOKS: [&str; 2] = ["/notify/cita", "/notify/estadisticas"];

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

/// The responses of a server, each verified against the document.
struct ResponseRecorder {
    app: TestApp,
    document: ApiDocument,
    /// The observed method, address and status of each response.
    seen: BTreeSet<(String, String, String)>,
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
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{method} {path}");
        self.check_response(method, path, answer).await;
    }

    async fn check_response(&mut self, method: &str, path: &str, answer: Response) {
        let status = answer.status().as_str().to_owned();
        let what = format!("{method} {path} {status}");
        let Self { document, seen, .. } = self;
        // An undocumented method is answered in the same way as every method of the address.
        let operations = document.0["paths"][path]
            .as_object()
            .unwrap_or_else(|| panic!("{path} is not documented"));
        let operation = operations
            .get(&method.to_lowercase())
            .or_else(|| operations.values().find(|item| item.is_object()));
        let promised = document.resolve(&operation.expect("an operation")["responses"][&status]);
        assert!(promised.is_object(), "{what} is not documented");
        for (name, header) in promised["headers"].as_object().into_iter().flatten() {
            // Headers that are sent only sometimes are documented as such.
            let is_optional = document.resolve(header)["description"]
                .as_str()
                .is_some_and(|text| text.contains(", where") || text.contains("while"));
            assert!(
                is_optional || answer.headers().contains_key(name),
                "{what}: {name} is missing"
            );
        }
        seen.insert((method.to_lowercase(), path.to_owned(), status));
        let content_type = answer
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
        let text = answer.text().await.expect("a text");
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
    async fn check_other_methods(&mut self, is_demo: bool) {
        let paths: Vec<_> = self.document.0["paths"]
            .as_object()
            .expect("paths")
            .keys()
            .cloned()
            .collect();
        for path in paths
            .iter()
            .filter(|path| is_demo || !path.starts_with("/demo/"))
        {
            let documented: BTreeSet<String> = ["GET", "POST", "PUT", "PATCH", "DELETE"]
                .into_iter()
                .filter(|method| {
                    self.document.0["paths"][path]
                        .get(method.to_lowercase())
                        .is_some()
                })
                .map(str::to_owned)
                .collect();
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"]
                .into_iter()
                .filter(|method| !documented.contains(*method))
            {
                let answer = self.ask(method, path, B1).send().await.expect("an answer");
                assert_eq!(answer.status(), 405, "{method} {path}");
                let allowed = answer.headers()["allow"]
                    .to_str()
                    .expect("text")
                    .to_uppercase();
                let allowed = allowed
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .filter(|name| name != "HEAD");
                assert_eq!(allowed.collect::<BTreeSet<_>>(), documented, "{path}");
                let own = documented.first().expect("a method").clone();
                self.check_response(&own, path, answer).await;
            }
        }
    }

    async fn check_statistics(&mut self) {
        let user = self.app.token(ADMIN_OF_B1);
        let other_user = self.app.token(OTHER_USER);
        let admin = self
            .app
            .sign(&json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 60}));
        for path in [READ, FOLLOW] {
            self.expect(
                200,
                "GET",
                path,
                self.ask("GET", path, B1).bearer_auth(&user),
            )
            .await;
            self.expect(
                200,
                "GET",
                path,
                self.ask("GET", &format!("{path}?token={user}"), B1),
            )
            .await;
            self.expect(
                400,
                "GET",
                path,
                self.ask("GET", path, "no-uuid").bearer_auth(&admin),
            )
            .await;
            self.expect(401, "GET", path, self.ask("GET", path, B1))
                .await;
            self.expect(
                403,
                "GET",
                path,
                self.ask("GET", path, B1).bearer_auth(&other_user),
            )
            .await;
            self.expect(
                404,
                "GET",
                path,
                self.ask("GET", path, "%ff").bearer_auth(&admin),
            )
            .await;
        }
        // A viewer is subscribed, so nothing is read again between the two requests.
        let mut socket = self.app.connect_socket(&user).await;
        socket.subscribe(&format!("estadisticas:{B1}")).await;
        let tag = self
            .ask("GET", READ, B1)
            .bearer_auth(&user)
            .send()
            .await
            .expect("an answer")
            .headers()["etag"]
            .clone();
        self.expect(
            304,
            "GET",
            READ,
            self.ask("GET", READ, B1)
                .bearer_auth(&user)
                .header("if-none-match", tag),
        )
        .await;
    }

    fn upgrade(&self, token: &str, key: &str) -> RequestBuilder {
        let request = self
            .ask("GET", "/ws", "")
            .bearer_auth(token)
            .header("connection", "Upgrade");
        request
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", key)
    }

    async fn check_socket(&mut self) {
        let user = self.app.token(ADMIN_OF_B1);
        let upgrade = |witness: &Self, key: &str| witness.upgrade(&user, key);
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        self.expect(101, "GET", "/ws", upgrade(self, key)).await;
        self.expect(400, "GET", "/ws", upgrade(self, "short")).await;
        self.expect(
            403,
            "GET",
            "/ws",
            upgrade(self, key).header("origin", "https://evil.example"),
        )
        .await;
        self.expect(401, "GET", "/ws", self.ask("GET", "/ws", ""))
            .await;
        self.expect(
            426,
            "GET",
            "/ws",
            self.ask("GET", "/ws", "").bearer_auth(&user),
        )
        .await;
    }

    async fn check_hook(&mut self) {
        let body = json!({"negocio_id": B1, "action": "created"}).to_string();
        for path in HOOKS {
            let post = |witness: &Self, body: &str| {
                witness
                    .ask("POST", path, "")
                    .header("x-api-key", HOOK_KEY)
                    .body(body.to_owned())
            };
            self.expect(200, "POST", path, post(self, &body)).await;
            self.expect(
                200,
                "POST",
                path,
                self.ask("POST", path, "")
                    .bearer_auth(HOOK_KEY)
                    .body(body.clone()),
            )
            .await;
            for wrong in ["{", "[]", "{}", r#"{"negocio_id":7}"#] {
                self.expect(400, "POST", path, post(self, wrong)).await;
            }
            self.expect(
                401,
                "POST",
                path,
                self.ask("POST", path, "").body(body.clone()),
            )
            .await;
            self.expect(413, "POST", path, post(self, &"x".repeat(20_000)))
                .await;
            self.expect(
                415,
                "POST",
                path,
                post(self, &body).header("content-type", "text/plain"),
            )
            .await;
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

    async fn check_demo(&mut self, works: &AtomicBool) {
        let business = latido_demo::BUSINESSES[0].id;
        let post = |witness: &Self, id: &str| {
            witness
                .ask("POST", "/demo/citas", "")
                .json(&json!({"negocio_id": id}))
        };
        self.expect(
            200,
            "GET",
            "/demo/session",
            self.ask("GET", "/demo/session", ""),
        )
        .await;
        self.expect(
            403,
            "GET",
            "/demo/session",
            self.ask("GET", "/demo/session", "")
                .header("host", "evil.example"),
        )
        .await;
        self.expect(
            200,
            "GET",
            "/demo/operator",
            self.ask("GET", "/demo/operator", ""),
        )
        .await;
        self.expect(
            403,
            "GET",
            "/demo/operator",
            self.ask("GET", "/demo/operator", "")
                .header("host", "evil.example"),
        )
        .await;
        self.expect(201, "POST", "/demo/citas", post(self, business))
            .await;
        self.expect(404, "POST", "/demo/citas", post(self, "nowhere"))
            .await;
        self.expect(
            403,
            "POST",
            "/demo/citas",
            post(self, business).header("sec-fetch-site", "cross-site"),
        )
        .await;
        let raw = |witness: &Self, kind: &str| {
            witness
                .ask("POST", "/demo/citas", "")
                .header("content-type", kind)
                .body("{")
        };
        self.expect(400, "POST", "/demo/citas", raw(self, "application/json"))
            .await;
        self.expect(415, "POST", "/demo/citas", raw(self, "text/plain"))
            .await;
        works.store(false, Ordering::SeqCst);
        self.expect(503, "POST", "/demo/citas", post(self, business))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_matches_the_document() {
    let works = Arc::new(AtomicBool::new(true));
    let zone = TimeZone::UTC;
    let demo = Demo::new(
        Arc::new(SwitchableDatabase(Arc::clone(&works))),
        Clock::system(),
        zone,
        || Ok("aaa.bbb.ccc".into()),
    );
    let demo = demo.with_operator_tokens(|| Ok("ddd.eee.fff".into()));
    let variables = [("ALLOWED_ORIGINS", PAGE), ("NOTIFY_API_KEY", HOOK_KEY)];
    let app = TestApp::with_settings(&variables, |config| config.demo = Some(Arc::new(demo))).await;
    let mut witness = ResponseRecorder::start(app).await;
    witness.document.check_consistency();
    witness.check_other_methods(true).await;
    witness.check_statistics().await;
    witness.check_socket().await;
    witness.check_hook().await;
    witness.check_other_routes().await;
    witness.check_operators().await;
    witness.check_demo(&works).await;

    // A server without a demo, with low limits for hooks and for connections per user.
    let app = TestApp::with(|config| {
        (config.http.hook_per_second, config.http.hook_burst) = (1, 1);
        config.http.max_connections_per_user = Some(1);
    });
    let app = app.await;
    let first = std::mem::take(&mut witness.seen);
    drop(witness);
    let mut witness = ResponseRecorder::start(app).await;
    witness.seen = first;
    witness
        .expect(
            204,
            "GET",
            "/demo/session",
            witness.ask("GET", "/demo/session", ""),
        )
        .await;
    witness
        .expect(
            204,
            "GET",
            "/demo/operator",
            witness.ask("GET", "/demo/operator", ""),
        )
        .await;
    witness
        .expect(
            404,
            "POST",
            "/demo/citas",
            witness.ask("POST", "/demo/citas", ""),
        )
        .await;
    let token = witness.app.token(ADMIN_OF_B1);
    let _held = witness.app.connect_socket(&token).await;
    witness
        .expect(
            429,
            "GET",
            FOLLOW,
            witness.ask("GET", FOLLOW, B1).bearer_auth(&token),
        )
        .await;
    witness
        .expect(
            429,
            "GET",
            "/ws",
            witness.upgrade(&token, "dGhlIHNhbXBsZSBub25jZQ=="),
        )
        .await;
    for path in HOOKS {
        let hurried =
            |witness: &ResponseRecorder| witness.ask(Method::POST.as_str(), path, "").body("{}");
        let _taken = hurried(&witness).send().await.expect("an answer");
        witness.expect(429, "POST", path, hurried(&witness)).await;
    }
    assert_all_responses_seen(&witness);
}

/// Asserts that every documented response was observed or is listed in [`UNSEEN`].
fn assert_all_responses_seen(witness: &ResponseRecorder) {
    let mut missing = BTreeSet::new();
    for (path, item) in witness.document.0["paths"].as_object().expect("paths") {
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
            missing.extend(statuses.map(|status| (method.clone(), path.clone(), status.clone())));
        }
    }
    missing.retain(|promise| !witness.seen.contains(promise));
    missing.retain(|(_, path, status)| {
        !UNSEEN
            .iter()
            .any(|(start, code, _)| (*start == "*" || path.starts_with(start)) && status == code)
    });
    assert!(
        missing.is_empty(),
        "documented, and never seen: {missing:#?}"
    );
}
