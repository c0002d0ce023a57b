//! A table of every address and every event, with the answer to each kind of credential. What is
//! not in the table fails the test, so a new entry point is denied until somebody decides.

pub(crate) mod addresses;
mod events;
mod members;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::access_control::TestIssuer;
use crate::harness::{ADMIN_OF_B1, OTHER_USER, TestApp, claims};

/// The credentials of a client, in the order of the table's columns.
const KINDS: [&str; 5] = ["none", "wrong", "another tenant's", "expired", "revoked"];

const GATEWAY_KEY: &str = "the key of the gateway in this test";

/// A server with all apps, and the credentials for it.
struct GuardedServer {
    app: TestApp,
    _issuer: TestIssuer,
    /// One token for each of [`KINDS`].
    tokens: [Option<String>; 5],
}

impl GuardedServer {
    async fn start() -> Self {
        let issuer = TestIssuer::start().await;
        let api = issuer.url.trim_end_matches("/introspect").to_owned();
        let variables = [
            ("LATIDO_APPS", "workspace,gateway,messaging,modules"),
            ("NOTIFY_API_KEY", "the key of the hook in this test"),
            ("WORKSPACE_API_KEY", "the key of workspace in this test"),
            ("MODULES_API_KEY", "the key of modules in this test"),
            ("GATEWAY_API_KEY", GATEWAY_KEY),
            ("GATEWAY_PORT", "0"),
            ("GATEWAY_API_URL", api.as_str()),
            ("JWT_INTROSPECTION_URL", issuer.url.as_str()),
        ];
        let app = TestApp::with_settings(&variables, |_| {}).await;
        let sign = |secret, user, exp| claims::sign_with(secret, &user_claims(user, exp));
        let later = claims::now() + 600;
        let revoked = sign(claims::SECRET, ADMIN_OF_B1, later);
        issuer.revoked.lock().unwrap().push(revoked.clone());
        let tokens = [
            None,
            Some(sign(
                "a secret that the server does not know, long",
                ADMIN_OF_B1,
                later,
            )),
            Some(sign(claims::SECRET, OTHER_USER, later)),
            Some(sign(claims::SECRET, ADMIN_OF_B1, claims::now() - 600)),
            Some(revoked),
        ];
        Self {
            app,
            _issuer: issuer,
            tokens,
        }
    }
}

/// Returns the claims that every app reads. The user belongs to no workspace but the second.
fn user_claims(user: &str, exp: i64) -> serde_json::Value {
    json!({
        "id": user, "sub": user, "device_id": "d", "exp": exp,
        "workspaces": [{"workspaceId": 2, "role": "owner"}]
    })
}

/// Returns the code of the files in a folder of the workspace, without tests and comments.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" && name != "assets" {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                texts.push((path, code_of(&text)));
            }
        }
    }
    texts
}

fn code_of(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("// ").next().unwrap());
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the string literals of some code.
fn literals(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

/// Returns the literals of a file between two texts.
fn literals_between(file: &str, start: &str, end: &str) -> BTreeSet<String> {
    let code = code_between(file, start, end);
    literals(&code).map(str::to_owned).collect()
}

/// Returns the code of a file between two texts. An empty one stands for the start or the end of the
/// file.
fn code_between(file: &str, start: &str, end: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let code = code_of(&fs::read_to_string(path).unwrap());
    let (_, from) = code
        .split_once(start)
        .unwrap_or_else(|| panic!("{file} has no {start}"));
    match from.split_once(end) {
        _ if end.is_empty() => from.to_owned(),
        Some((part, _)) => part.to_owned(),
        None => panic!("{file} has no {end}"),
    }
}
