//! TLS termination by the server, tested from outside.

use std::fs;
use std::path::PathBuf;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::backend::admin;
use super::upgrades::{UPGRADE, frame};
use super::*;
use crate::{Tls, TlsFiles};

/// A certificate authority, and a folder for the certificates it signs.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    roots: rustls::RootCertStore,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("latido-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(own.der().to_vec())).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
            roots,
        }
    }

    /// Writes a new certificate for `localhost` and returns its bytes.
    fn sign(&self) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".into()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        fs::write(self.folder.join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(self.folder.join("cert.pem"), certificate.pem()).unwrap();
        certificate.der().to_vec()
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            certificates: self.folder.join("cert.pem"),
            key: self.folder.join("key.pem"),
            check_interval: Duration::from_millis(20),
        }
    }

    /// Starts a server with TLS that checks the files often.
    fn server(&self, config: Config) -> TestServer {
        let mut world = HttpBackend::new(config);
        let tls = Tls::open(&self.files()).unwrap();
        tls.start_reload(&world.state.drain);
        world.state.tls = Some(tls);
        TestServer::start(world)
    }

    async fn connect(&self, server: &TestServer) -> TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = builder
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let socket = server.connect().await;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), socket)
            .await
            .unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn read_until(stream: &mut TlsStream<TcpStream>, text: &str) -> String {
    let mut seen = Vec::new();
    let wait = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            assert_ne!(
                stream.read_buf(&mut seen).await.unwrap(),
                0,
                "closed before {text:?}"
            );
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, wait)
        .await
        .unwrap_or_else(|_| panic!("{text:?} never came"));
    String::from_utf8_lossy(&seen).into_owned()
}

fn served_certificate(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn tls_serves_requests_and_websockets_and_releases_permits() {
    let authority = Authority::new("through");
    authority.sign();
    let server = authority.server(Config::default());
    let mut plain = authority.connect(&server).await;
    plain
        .write_all(b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut plain, "uptime").await;

    let mut socket = authority.connect(&server).await;
    let head = format!(
        "GET /ws?token={} HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n",
        admin(),
        UPGRADE.join("\r\n")
    );
    socket
        .write_all(
            &[
                head.as_bytes(),
                &frame(r#"{"type":"subscribe","channel":"estadisticas:a"}"#),
            ]
            .concat(),
        )
        .await
        .unwrap();
    assert!(
        read_until(&mut socket, r#""total_citas":0"#)
            .await
            .starts_with("HTTP/1.1 101")
    );
    server.number.set(7);
    read_until(&mut socket, r#""total_citas":7"#).await;
    // More bytes than any buffer on the way holds.
    let big = frame(&format!(
        r#"{{"type":"subscribe","channel":"{}"}}"#,
        "x".repeat(15_000)
    ));
    for _ in 0..20 {
        socket.write_all(&big).await.unwrap();
        read_until(&mut socket, "unknown_channel").await;
    }
    drop((plain, socket));
    eventually(|| (server.state.rules.limits.in_use() == 0).then_some(())).await;
}

#[tokio::test]
async fn plain_and_silent_clients_are_disconnected() {
    let authority = Authority::new("cut");
    authority.sign();
    let server = authority.server(Config {
        head_timeout: Duration::from_secs(2),
        ..Config::default()
    });
    let mut plain = server.connect().await;
    plain
        .write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    let mut silent = server.connect().await;
    for socket in [&mut plain, &mut silent] {
        let mut received = Vec::new();
        // A reset is an end as well.
        let _ = tokio::time::timeout(TEST_TIMEOUT, socket.read_to_end(&mut received))
            .await
            .expect("closed");
        assert!(!String::from_utf8_lossy(&received).contains("HTTP"));
    }
    eventually(|| (server.state.metrics.refusals.get("slow_head") == 1).then_some(())).await;
    assert_eq!(server.state.metrics.refusals.get("tls"), 1);
}

#[tokio::test]
async fn new_certificate_is_loaded_and_an_invalid_one_ignored() {
    let authority = Authority::new("reload");
    let first = authority.sign();
    let server = authority.server(Config::default());
    let mut old = authority.connect(&server).await;
    assert_eq!(served_certificate(&old), first);
    fs::write(authority.folder.join("cert.pem"), "no certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        served_certificate(&authority.connect(&server).await),
        first,
        "the previous certificate stays in use"
    );
    let second = authority.sign();
    while served_certificate(&authority.connect(&server).await) != second {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    old.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut old, "uptime").await;
}

#[tokio::test]
async fn drain_ends_tls_connections() {
    let authority = Authority::new("drain");
    authority.sign();
    let server = authority.server(Config::default());
    let mut idle = authority.connect(&server).await;
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "uptime").await;
    assert_eq!(server.state.drain.drain(TEST_TIMEOUT).await, 0);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[test]
fn invalid_files_are_named_in_the_error() {
    let authority = Authority::new("files");
    let problem = || Tls::open(&authority.files()).unwrap_err().to_string();
    assert!(
        problem().contains("cert.pem could not be read"),
        "{}",
        problem()
    );
    authority.sign();
    let key = fs::read(authority.folder.join("key.pem")).unwrap();
    fs::write(authority.folder.join("key.pem"), "no key").unwrap();
    assert!(
        problem().ends_with("key.pem holds no private key in PEM"),
        "{}",
        problem()
    );
    authority.sign();
    fs::write(authority.folder.join("key.pem"), key).unwrap();
    assert!(
        problem().starts_with("certificate and key can't be used"),
        "{}",
        problem()
    );
}
