//! Every listener describes the addresses of its apps in `/openapi.json`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value;

use super::ApiDocument;
use super::answers::WEBSOCKET;
use crate::entry_points::table::addresses::{APPS, GATEWAY, LONG_POLLS, SOCKETS};
use crate::harness::{TempFolder, TestApp, http_client};

const APP_NAMES: [&str; 4] = ["workspace", "gateway", "messaging", "modules"];

const VARIABLES: [(&str, &str); 6] = [
    ("LATIDO_APPS", "workspace,gateway,messaging,modules"),
    ("WORKSPACE_API_KEY", "the key of workspace in this test"),
    ("MODULES_API_KEY", "the key of modules in this test"),
    ("GATEWAY_API_KEY", "the key of the gateway in this test"),
    ("GATEWAY_PORT", "0"),
    ("GATEWAY_API_URL", "http://127.0.0.1:9"),
];

async fn fetch(listener: SocketAddr) -> ApiDocument {
    let url = format!("http://{listener}/openapi.json");
    let answer = http_client().get(url).send().await.expect("a response");
    assert_eq!(answer.status(), 200);
    let document = ApiDocument(answer.json().await.expect("JSON"));
    document.check_consistency();
    document
}

impl ApiDocument {
    /// Returns the path item that describes an address, whatever its parameters are called.
    fn item(&self, address: &str) -> Option<&Value> {
        let paths = self.0["paths"].as_object().expect("paths");
        let is_same = |(path, _): &(&String, &Value)| {
            path.split('/').count() == address.split('/').count()
                && path
                    .split('/')
                    .zip(address.split('/'))
                    .all(|(a, b)| a == b || b.starts_with('{'))
        };
        paths.iter().find(is_same).map(|(_, item)| item)
    }
}

/// Requires that every documented operation answers with a documented status, and that the address
/// exists.
async fn check_answers(listener: SocketAddr, document: &ApiDocument) {
    for (path, item) in document.0["paths"].as_object().expect("paths") {
        for method in ["get", "post", "delete"] {
            let Some(operation) = item.get(method) else {
                continue;
            };
            let segments = path.split('/').map(|segment| match segment {
                "{negocio_id}" => "6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11",
                parameter if parameter.starts_with('{') => "1",
                literal => literal,
            });
            let at = segments.collect::<Vec<_>>().join("/");
            let method = method.to_uppercase().parse().expect("a method");
            let request = http_client().request(method, format!("http://{listener}{at}"));
            let answer = request.send().await.expect("a response");
            let status = answer.status().as_str().to_owned();
            let what = format!("{path}: {status}");
            assert!(operation["responses"].get(&status).is_some(), "{what}");
            assert_ne!(status, "404", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_an_app_is_described() {
    let app = TestApp::with_settings(&VARIABLES, |_| {}).await;
    let main = fetch(app.address()).await;
    let gateway = fetch(app.app_address("gateway")).await;
    let mut missing = BTreeSet::new();
    let rows = APPS.iter().map(|row| (&main, row));
    let rows = rows.chain(GATEWAY.iter().map(|row| (&gateway, row)));
    for (document, (method, path, _)) in rows {
        let item = document.item(path);
        if item.is_none_or(|item| item.get(method.to_lowercase()).is_none()) {
            missing.insert(format!("{method} {path}"));
        }
    }
    for (path, _) in SOCKETS {
        let item = main.item(path);
        if item.is_none_or(|item| item.get(WEBSOCKET).is_none()) {
            missing.insert((*path).to_owned());
        }
    }
    for (path, _) in LONG_POLLS {
        let item = main.item(path);
        if item.is_none_or(|item| item.get("get").is_none() || item.get("post").is_none()) {
            missing.insert((*path).to_owned());
        }
    }
    // The crate of Socket.IO has no part of its own yet.
    missing.remove("/socket.io");
    assert_eq!(missing, BTreeSet::new(), "addresses without a description");
    check_answers(app.address(), &main).await;
    check_answers(app.app_address("gateway"), &gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listener_of_an_app_describes_what_it_answers() {
    let folder = TempFolder::new();
    let tables =
        ["workspace", "messaging", "modules"].map(|app| format!("[apps.{app}]\nport = 0\n"));
    let file = folder.write("latido.toml", &tables.concat());
    let variables = [("LATIDO_CONFIG", file.to_str().expect("UTF-8"))];
    let variables: Vec<_> = VARIABLES.into_iter().chain(variables).collect();
    let app = TestApp::with_settings(&variables, |_| {}).await;
    for name in APP_NAMES {
        let listener = app.app_address(name);
        let document = fetch(listener).await;
        check_answers(listener, &document).await;
        let tags = document.0["tags"].as_array().expect("tags");
        let apps = tags.iter().filter_map(|tag| tag["name"].as_str());
        let apps: Vec<_> = apps.filter(|tag| APP_NAMES.contains(tag)).collect();
        assert_eq!(apps, [name]);
    }
    let stats =
        |document: &ApiDocument| document.0["paths"]["/dashboard/stats"]["get"]["tags"][0].clone();
    let modules = fetch(app.app_address("modules")).await;
    assert_eq!(
        stats(&modules),
        "modules",
        "its own port serves its own counts"
    );
    assert_eq!(stats(&fetch(app.address()).await), "dashboard");
}
