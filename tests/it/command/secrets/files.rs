//! Secrets in files: a server that gets all of its secrets in this way works, and logs none.

use super::super::{CommandSetup, SECRET};
use super::HOOK_KEY;
use crate::harness::{B1, TestSocket, http_client};

#[tokio::test(flavor = "multi_thread")]
async fn server_takes_its_secrets_from_files() {
    let place = CommandSetup::new().await;
    place.print(&["install"]).await;
    let folder = place.home.folder();
    let url = place
        .variables
        .iter()
        .find(|(name, _)| *name == "DATABASE_URL");
    let path = |name: &str, secret: &str| {
        let path = folder.write(name, &format!("{secret}\n"));
        path.to_str().unwrap().to_owned()
    };
    let (url_file, secret_file, key_file) = (
        path("url", &url.unwrap().1),
        path("secret", SECRET),
        path("key", HOOK_KEY),
    );
    let variables = [
        ("DATABASE_URL", ""),
        ("DATABASE_URL_FILE", &url_file),
        ("JWT_SECRET", ""),
        ("JWT_SECRET_FILE", &secret_file),
        ("NOTIFY_API_KEY_FILE", &key_file),
        ("RUST_LOG", "trace"),
    ];
    let server = place.start(&["serve"], &variables);
    let address = server.ready_address().await;
    // Signed with the same secret from the variable.
    let token = place.token(B1).await;
    let mut socket = TestSocket::connect(&format!("ws://{address}/ws"), &token).await;
    let frame = socket.subscribe(&format!("estadisticas:{B1}")).await;
    assert_eq!(frame["data"]["negocio_id"], B1);
    let hint = |key: &'static str| {
        let request = http_client().post(format!("http://{address}/notify/cita"));
        request
            .header("x-api-key", key)
            .json(&serde_json::json!({"negocio_id": B1}))
            .send()
    };
    assert_eq!(hint("another key").await.unwrap().status(), 401);
    assert_eq!(hint(HOOK_KEY).await.unwrap().status(), 200);
    let log = server.stderr_text();
    for secret in [SECRET, HOOK_KEY, "open-sesame"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}
