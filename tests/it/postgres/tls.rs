//! `sslmode` against a server with a certificate for `localhost`, signed by an authority of our own.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use latido::postgres::{Config, Database, DatabaseError};
use latido::postgres::{ConfigError, Setting};

use super::Cluster;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/postgres/tls_files");

/// A TCP server with TLS, and its port.
fn start() -> (Cluster, tempdir::Folder, u16) {
    let folder = tempdir::Folder::new();
    for name in ["server.crt", "server.key"] {
        let copy = folder.0.join(name);
        std::fs::copy(Path::new(FILES).join(name), &copy).unwrap();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
        // The server refuses a key that others may read, or that is not its own.
        let _ = std::process::Command::new("chown").args(["postgres"]).arg(&copy).status();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = folder.0.display();
    let settings = format!(
        "-c listen_addresses=localhost -c port={port} -c fsync=off -c ssl=on -c ssl_cert_file={dir}/server.crt -c ssl_key_file={dir}/server.key"
    );
    (Cluster::start("tls", &settings), folder, port)
}

mod tempdir {
    pub(super) struct Folder(pub(super) std::path::PathBuf);

    impl Folder {
        pub(super) fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("latido-it-{}-tls-files", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[tokio::test]
async fn each_sslmode_checks_what_it_promises() {
    let (_cluster, _folder, port) = start();
    let check = async |host: &str, params: &str| {
        let url = format!("postgresql://postgres@{host}:{port}/postgres?{params}");
        Database::open(&Config::new(url)).unwrap().check().await
    };
    let (ca, own) = (format!("sslrootcert={FILES}/ca.crt"), format!("sslrootcert={FILES}/server.crt"));
    for params in ["", "sslmode=disable", "sslmode=prefer", "sslmode=require"] {
        check("127.0.0.1", params).await.unwrap();
    }
    for roots in [&ca, &own] {
        check("127.0.0.1", &format!("sslmode=require&{roots}")).await.unwrap();
        check("127.0.0.1", &format!("sslmode=verify-ca&{roots}")).await.unwrap();
        check("localhost", &format!("sslmode=verify-full&{roots}")).await.unwrap();
        let error = check("127.0.0.1", &format!("sslmode=verify-full&{roots}")).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Unavailable { .. }), "another name: {error}");
    }
    if std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        for params in ["sslrootcert=system", "sslmode=verify-ca", "sslmode=verify-full"] {
            let error = check("localhost", params).await.unwrap_err().to_string();
            assert!(error.contains("UnknownIssuer"), "{params}: {error}");
        }
    }
}

#[test]
fn certificates_that_are_missing_are_a_mistake_of_the_settings() {
    let config = Config {
        listen_url: Some("postgresql://h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem".to_owned()),
        ..Config::new("postgresql://h/d")
    };
    let ConfigError { setting, mistake } = Database::open(&config).unwrap_err();
    assert_eq!(setting, Setting::ListenUrl);
    assert!(mistake.to_string().contains("`sslrootcert`: /nowhere/ca.pem"), "{mistake}");
}
