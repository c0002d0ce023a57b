//! Access control of a complete server: revoked tokens, hashed keys, TLS and proxies.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use latido::app::Config;
use latido::config::{ConfigSources, Purpose, Settings};
use rcgen::{CertificateParams, Issuer, KeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{
    ADMIN_OF_B1, B1, TempFolder, TestApp, TestSocket, claims, wait_until, within,
};

const CHANNEL: &str = "estadisticas:6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";

/// A token issuer whose introspection endpoint gives the same result for every token. To a GET it
/// answers as the API that knows the user of a token.
pub(crate) struct TestIssuer {
    pub(crate) url: String,
    pub(crate) valid: Arc<AtomicBool>,
    /// The tokens that are revoked in any case.
    pub(crate) revoked: Arc<Mutex<Vec<String>>>,
    requests: Arc<AtomicUsize>,
}

impl TestIssuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/introspect", listener.local_addr().unwrap());
        let (valid, questions) = (
            Arc::new(AtomicBool::new(true)),
            Arc::new(AtomicUsize::new(0)),
        );
        let issuing = Self {
            url,
            valid: Arc::clone(&valid),
            revoked: Arc::default(),
            requests: Arc::clone(&questions),
        };
        let revoked = Arc::clone(&issuing.revoked);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut received = Vec::new();
                while !(received.ends_with(b"\"}")
                    || received.starts_with(b"GET") && received.ends_with(b"\r\n\r\n"))
                    && socket
                        .read_buf(&mut received)
                        .await
                        .is_ok_and(|count| count > 0)
                {}
                questions.fetch_add(1, Ordering::SeqCst);
                let asked = String::from_utf8_lossy(&received);
                let is_revoked = revoked
                    .lock()
                    .unwrap()
                    .iter()
                    .any(|token: &String| asked.contains(token));
                let is_valid = valid.load(Ordering::SeqCst) && !is_revoked;
                let (status, body) = match received.starts_with(b"GET") {
                    true if is_valid => (200, json!({"id": 1, "rol": "cliente"})),
                    true => (401, json!({})),
                    false => (200, json!({"valid": is_valid})),
                };
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        issuing
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_token_closes_its_connections_and_opens_none() {
    let issuer = TestIssuer::start().await;
    let variables = [
        ("JWT_INTROSPECTION_URL", issuer.url.as_str()),
        ("JWT_INTROSPECTION_SECONDS", "1"),
    ];
    let app = TestApp::with_settings(&variables, |_| {}).await;
    let token = app.token(ADMIN_OF_B1);
    let mut socket = app.connect_socket(&token).await;
    socket.subscribe(CHANNEL).await;
    let mut again = app.connect_socket(&token).await;
    again.assert_quiet().await;
    let events = app
        .request(reqwest::Method::GET, &format!("/estadisticas/{B1}/events"))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(events.status(), 200);
    let asked = issuer.requests.load(Ordering::SeqCst);
    wait_until("the token is checked again", async || {
        issuer.requests.load(Ordering::SeqCst) > asked + 1
    })
    .await;
    socket.assert_quiet().await;

    issuer.valid.store(false, Ordering::SeqCst);
    assert_eq!(
        (
            socket.wait_for_close_code().await,
            again.wait_for_close_code().await
        ),
        (Some(4401), Some(4401))
    );
    // The event stream ends in order and delivers its pending events.
    within(events.bytes()).await.unwrap();
    app.assert_metric_settles(r#"latido_closes_total{reason="revoked"}"#, 2.0)
        .await;
    let refused = TestSocket::try_connect(&format!("{}?token={token}", app.ws_url()), &[]).await;
    assert_eq!(refused.err(), Some(401));
    app.assert_metric_settles(r#"latido_refusals_total{reason="revoked"}"#, 1.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_issuer_rejects_new_connections_with_503() {
    // Nothing listens on the discard port (9) of this machine.
    let variables = [("JWT_INTROSPECTION_URL", "http://127.0.0.1:9/introspect")];
    let app = TestApp::with_settings(&variables, |_| {}).await;
    let url = format!("{}?token={}", app.ws_url(), app.token(ADMIN_OF_B1));
    assert_eq!(TestSocket::try_connect(&url, &[]).await.err(), Some(503));
}

#[tokio::test(flavor = "multi_thread")]
async fn api_key_can_be_configured_as_its_hash() {
    // The hash is the SHA-256 of "key".
    let hash = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
    let app = TestApp::with_settings(&[("NOTIFY_API_KEY", hash)], |_| {}).await;
    let hook = async |key: &str| {
        let request = app
            .request(reqwest::Method::POST, "/notify/cita")
            .header("x-api-key", key);
        request
            .json(&json!({"negocio_id": B1, "action": "created"}))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(
        (hook("key").await, hook(hash).await, hook("").await),
        (200, 401, 401)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn token_expiry_closes_the_socket_even_with_a_cookie() {
    let app = TestApp::start().await;
    // It has expired and is accepted, because of the leeway of five seconds. On a busy machine the
    // leeway may end before the server checks the token.
    let connecting = async {
        loop {
            let ends = app.sign(&json!({"id": ADMIN_OF_B1, "exp": claims::now() - 3}));
            let url = format!("{}?token={ends}", app.ws_url());
            match TestSocket::try_connect(&url, &[]).await {
                Ok(socket) => break socket,
                Err(status) => assert_eq!(status, 401),
            }
        }
    };
    let mut socket = within(connecting).await;
    assert_eq!(socket.wait_for_close_code().await, Some(4401));
    let cookie = format!("token={}", app.token(ADMIN_OF_B1));
    assert_eq!(
        TestSocket::try_connect(&app.ws_url(), &[("cookie", &cookie)])
            .await
            .err(),
        Some(401)
    );
}

/// Creates a certificate for `localhost`. Returns the PEM text of its authority and the paths of
/// the certificate and its key.
pub(crate) fn create_certificate(folder: &TempFolder) -> (String, PathBuf, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    (
        own.pem(),
        folder.write("cert.pem", &certificate.pem()),
        folder.write("key.pem", &key.serialize_pem()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_enables_https_and_wss() {
    let folder = TempFolder::new();
    let (authority, cert, key) = create_certificate(&folder);
    let files = [
        ("TLS_CERT", cert.to_str().unwrap()),
        ("TLS_KEY", key.to_str().unwrap()),
    ];
    let mut variables = vec![
        ("DATABASE_URL", "postgresql://u@127.0.0.1:9/d"),
        ("JWT_SECRET", claims::SECRET),
    ];
    variables.extend([("HOST", "127.0.0.1"), ("PORT", "0")]);
    variables.extend(files);
    let settings =
        Settings::read(&ConfigSources::from_variables(&variables), Purpose::Serve).unwrap();
    let app = latido::app::App::start(Config::new(settings)).unwrap();

    let root = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([root])
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/health", app.address().port());
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(
        client
            .get(url.replace("https", "http"))
            .send()
            .await
            .is_err(),
        "plain HTTP is refused"
    );

    // The container's health check also works over TLS, and trusts only the certificate in the
    // file.
    let healthy = |certificates: &Path| {
        let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_latido"));
        check
            .arg("healthcheck")
            .env_clear()
            .current_dir(folder.path());
        check
            .env("HOST", "127.0.0.1")
            .env("PORT", app.address().port().to_string());
        check.env("TLS_CERT", certificates).env("TLS_KEY", &key);
        check.output().unwrap().status.success()
    };
    assert!(healthy(&cert));
    let other = TempFolder::new();
    assert!(!healthy(&create_certificate(&other).1));
    assert!(app.stop().await);
}
