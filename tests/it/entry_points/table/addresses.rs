//! The addresses.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, RequestBuilder};

use super::{GATEWAY_KEY, GuardedServer, KINDS, literals, sources};
use crate::harness::{B1, TestSocket, within};
use crate::specification::base_document;

pub(crate) type Statuses = [u16; 5];

const PUBLIC: Statuses = [200; 5];
/// The demo's addresses, in a server without a demo.
const EMPTY: Statuses = [204; 5];
/// An address of the demo that a server without a demo does not have.
const ABSENT: Statuses = [404; 5];
/// An API key is expected, and a token is none.
const KEY: Statuses = [401; 5];
/// A token of an operator is expected.
const OPERATOR: Statuses = [401, 401, 403, 401, 401];
/// A token with a right to the channel is expected.
const CHANNEL: Statuses = [401, 401, 403, 401, 401];
/// Any valid token is expected; the answer is about its user alone.
const OWN: Statuses = [401, 401, 200, 401, 401];

/// The addresses of the server, as `/openapi.json` has them, and their answers.
const SERVER: &[(&str, Statuses)] = &[
    ("/", PUBLIC),
    ("/health", PUBLIC),
    ("/ready", PUBLIC),
    ("/metrics", PUBLIC),
    ("/openapi.json", PUBLIC),
    ("/asyncapi.json", PUBLIC),
    ("/demo/session", EMPTY),
    ("/demo/operator", EMPTY),
    ("/demo/citas", ABSENT),
    ("/{stream}/{key}", CHANNEL),
    ("/{stream}/{key}/events", CHANNEL),
    ("/events", CHANNEL),
    ("/notify/{hook}", KEY),
];

/// The folders whose addresses are all the operators'.
const OPERATOR_FOLDERS: [&str; 2] = ["/dashboard", "/api/dashboard"];

/// The addresses of apps on the main listener.
pub(crate) const APPS: &[(&str, &str, Statuses)] = &[
    ("GET", "/api/health", PUBLIC),
    ("GET", "/api/workspaces/{workspace}/users", KEY),
    ("POST", "/api/workspaces/{workspace}/notify", KEY),
    ("POST", "/api/workspaces/{workspace}/broadcast", KEY),
    ("POST", "/api/users/{user}/message", KEY),
    ("POST", "/api/modules/emit/{method}", KEY),
    ("GET", "/api/modules/stats", OWN),
    ("GET", "/socket.io/socket.io.js", PUBLIC),
    ("GET", "/socket.io/socket.io.min.js", PUBLIC),
    ("GET", "/socket.io/socket.io.esm.min.js", PUBLIC),
    ("GET", "/socket.io/socket.io.msgpack.min.js", PUBLIC),
    ("POST", "/messaging/api/v1/notifications", KEY),
];

/// The addresses of `gateway` on its own listener.
pub(crate) const GATEWAY: &[(&str, &str, Statuses)] = &[
    ("GET", "/api/health", PUBLIC),
    ("GET", "/dashboard.html", PUBLIC),
    ("GET", "/socket.io/socket.io.min.js", PUBLIC),
];

/// The WebSockets, and the status of an upgrade. Without a token, `/ws` belongs to `workspace`, and
/// a device says who it is in band.
pub(crate) const SOCKETS: &[(&str, Statuses)] = &[
    ("/ws", [101, 401, 101, 401, 401]),
    ("/socket/websocket", [403, 403, 101, 403, 403]),
    ("/messaging/socket/websocket", [403, 403, 101, 403, 403]),
    ("/esp32", [101; 5]),
    ("/socket.io", [101; 5]),
];

/// The addresses of long polling, and the statuses in the bodies of the first polls: 410 is that of
/// a new session.
pub(crate) const LONG_POLLS: &[(&str, Statuses)] = &[
    ("/socket/longpoll", [403, 403, 410, 403, 403]),
    ("/messaging/socket/longpoll", [403, 403, 410, 403, 403]),
];

/// Texts in the apps that begin like an address and are none of their own: prefixes, namespaces,
/// and addresses of other servers.
const NO_ADDRESSES: &[&str] = &[
    "/",
    "/api",
    "/api/users",
    "/api/workspaces",
    "/api/dashboard",
    "/dashboard",
    // On a shared listener this is the operators'.
    "/dashboard/stats",
    "/api/v1/profile/",
    "/messaging/",
    "/proc/loadavg",
];

fn fill(path: &str) -> String {
    if path == "/events" {
        return format!("/events?channel=estadisticas:{B1}");
    }
    path.replace("{stream}", "estadisticas")
        .replace("{key}", B1)
        .replace("{hook}", "cita")
        .replace("{workspace}", "1")
        .replace("{user}", "7")
        .replace("{method}", "moduleOnline")
        .replace("{id}", "1")
}

/// Requires the expected status for each kind of credential.
async fn check(
    server: &GuardedServer,
    name: &str,
    expected: Statuses,
    request: impl Fn() -> RequestBuilder,
) {
    for ((kind, token), status) in KINDS.iter().zip(&server.tokens).zip(expected) {
        let mut request = request();
        if let Some(token) = token {
            request = request.bearer_auth(token).header("x-api-key", token);
        }
        let answer = within(request.send()).await.unwrap();
        assert_eq!(
            answer.status().as_u16(),
            status,
            "{name} with {kind} credential"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_the_server_answers_as_the_table_says() {
    let server = GuardedServer::start().await;
    let document = base_document("openapi.json");
    let rows: BTreeMap<_, _> = SERVER.iter().copied().collect();
    let mut unknown = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let is_operators = OPERATOR_FOLDERS.iter().any(|folder| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let expected = match rows.get(path.as_str()) {
            Some(expected) => *expected,
            None if is_operators => OPERATOR,
            // In the table of WebSockets.
            None if path == "/ws" => continue,
            None => {
                unknown.insert(path.clone());
                continue;
            }
        };
        for method in ["get", "post", "delete"] {
            if operations.get(method).is_none() {
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let name = format!("{method} {path}");
            check(&server, &name, expected, || {
                server.app.request(method.clone(), &fill(path)).body("{}")
            })
            .await;
        }
    }
    assert_eq!(
        unknown,
        BTreeSet::new(),
        "addresses without a row in the table"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_the_apps_answers_as_the_table_says() {
    let server = GuardedServer::start().await;
    for (method, path, expected) in APPS {
        let method: Method = method.parse().unwrap();
        check(&server, &format!("{method} {path}"), *expected, || {
            server.app.request(method.clone(), &fill(path)).body("{}")
        })
        .await;
    }
    let gateway = server.app.app_address("gateway");
    let client = crate::harness::http_client();
    let mut rows: Vec<(Method, String, Statuses)> = GATEWAY
        .iter()
        .map(|(method, path, expected)| (method.parse().unwrap(), (*path).to_owned(), *expected))
        .collect();
    for folder in OPERATOR_FOLDERS {
        let at = |name: &str| format!("{folder}/{name}/");
        rows.extend(gateway_names("View::").map(|name| (Method::GET, at(&name), KEY)));
        let commands = gateway_names("PublishCommand::").chain(["cleanup".to_owned()]);
        rows.extend(commands.map(|name| (Method::POST, at(&name), KEY)));
    }
    assert!(rows.len() > 20, "the addresses were found: {rows:?}");
    for (method, path, expected) in rows {
        let url = format!("http://{gateway}{}", path.replace("//", "/"));
        // From this machine, and without a word about a proxy.
        let request = || client.request(method.clone(), &url).body("{}");
        check(
            &server,
            &format!("gateway: {method} {path}"),
            expected,
            request,
        )
        .await;
        if expected == KEY && method == Method::GET {
            let answer = request().header("x-api-key", GATEWAY_KEY).send().await;
            assert_eq!(answer.unwrap().status(), 200, "{path} with its key");
        }
    }
}

/// Returns the last segments of the gateway's addresses, as its tables have them.
fn gateway_names(kind: &'static str) -> impl Iterator<Item = String> {
    let code = sources("internal/apps/gateway/src");
    let (_, code) = code
        .into_iter()
        .find(|(path, _)| path.ends_with("routes.rs"))
        .unwrap();
    let lines: Vec<_> = code.lines().map(str::to_owned).collect();
    lines
        .into_iter()
        .filter(move |line| line.trim_start().starts_with("(\"") && line.contains(kind))
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_websocket_upgrade_answers_as_the_table_says() {
    let server = GuardedServer::start().await;
    for (path, expected) in SOCKETS {
        for ((kind, token), status) in KINDS.iter().zip(&server.tokens).zip(expected) {
            let token = token.as_ref().map(|token| format!("&token={token}"));
            let query = "?vsn=2.0.0&EIO=4&transport=websocket";
            let token = token.unwrap_or_default();
            let url = format!("ws://{}{path}{query}{token}", server.app.address());
            let opening = async {
                loop {
                    match TestSocket::try_connect(&url, &[]).await {
                        Ok(_) => return 101,
                        // The app is not ready yet.
                        Err(503) => tokio::task::yield_now().await,
                        Err(status) => return status,
                    }
                }
            };
            assert_eq!(
                within(opening).await,
                *status,
                "{path} with {kind} credential"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_first_poll_answers_as_the_table_says() {
    let server = GuardedServer::start().await;
    for (path, expected) in LONG_POLLS {
        for ((kind, token), status) in KINDS.iter().zip(&server.tokens).zip(expected) {
            let token = token.as_ref().map(|token| format!("&token={token}"));
            let address = format!("{path}?vsn=2.0.0{}", token.unwrap_or_default());
            let asking = async {
                loop {
                    // The server answers 503 until the change feed knows its start position.
                    match server.app.get(&address).await {
                        (503, _) => tokio::task::yield_now().await,
                        (_, body) => break body,
                    }
                }
            };
            let body: serde_json::Value = serde_json::from_str(&within(asking).await).unwrap();
            assert_eq!(body["status"], *status, "{path} with {kind} credential");
            let post = server.app.request(Method::POST, &address).body("[]");
            let body = within(post.send()).await.unwrap().text().await.unwrap();
            assert_eq!(body, r#"{"status":410}"#, "a POST without a session");
        }
    }
}

#[test]
fn every_address_in_the_code_of_the_apps_has_a_row() {
    let known: BTreeSet<&str> = APPS
        .iter()
        .chain(GATEWAY)
        .map(|(_, path, _)| *path)
        .chain(SOCKETS.iter().chain(LONG_POLLS).map(|(path, _)| *path))
        .chain(NO_ADDRESSES.iter().copied())
        .collect();
    let mut unknown = BTreeSet::new();
    for app in ["workspace", "gateway", "messaging", "modules"] {
        for (_, code) in sources(&format!("internal/apps/{app}/src")) {
            let addresses = literals(&code).filter(|text| {
                text.starts_with('/') && text.len() > 1 && !text.contains(char::is_whitespace)
            });
            unknown.extend(
                addresses
                    .filter(|address| !known.contains(address))
                    .map(|address| format!("{app}: {address}")),
            );
        }
    }
    assert_eq!(
        unknown,
        BTreeSet::new(),
        "addresses without a row in the table"
    );
}
