//! The `sslmode` setting against a server with a certificate for `localhost`, signed by a test
//! authority.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use latido_base::secret::Secret;
use latido_postgres::{Config, ConfigError, Database, DatabaseError, UrlSetting};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::harness::cluster::OwnCluster;

/// The host rules. The server refuses connections of `keyed` without a password, so that it must
/// prove a secret too, which is bound to its certificate.
const HOST_RULES: &str = "local all all trust\nhost all keyed 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";

/// A server with TLS and its certificates, which are created for it and removed with it.
struct TlsServer {
    cluster: OwnCluster,
    authority: PathBuf,
    certificate: PathBuf,
}

impl TlsServer {
    /// Starts the server. Returns `None` if it was built without TLS, as the one from the wheel is.
    async fn start() -> Option<Self> {
        let mut cluster = OwnCluster::start_with_tcp(&[]).await;
        let client = cluster.client().await;
        let (authority, own, key) = certificates();
        let folder = cluster.data_dir().to_owned();
        for (name, text) in [
            ("ca.crt", authority.as_str()),
            ("server.crt", &own),
            ("server.key", &key),
            ("pg_hba.conf", HOST_RULES),
        ] {
            write_server_file(&folder, name, text);
        }
        client
            .batch_execute("CREATE ROLE keyed LOGIN PASSWORD 'open sesame'")
            .await
            .unwrap();
        if let Err(error) = client.batch_execute("ALTER SYSTEM SET ssl = on").await {
            return report_no_tls(&error);
        }
        cluster.restart().await;
        Some(Self {
            cluster,
            authority: folder.join("ca.crt"),
            certificate: folder.join("server.crt"),
        })
    }

    /// Connects with this host name and these parameters.
    async fn connect(&self, user: &str, host: &str, parameters: &str) -> Result<(), DatabaseError> {
        let url = self
            .cluster
            .tcp_url()
            .replace("postgres@127.0.0.1", &format!("{user}@{host}"));
        assert!(url.contains(host), "{url}");
        let separator = if url.contains('?') { '&' } else { '?' };
        Database::open(&Config::new(format!("{url}{separator}{parameters}")))
            .unwrap()
            .check_connection()
            .await
    }
}

/// Reports the missing test past the runner's output capture, so that it is never silent. CI must
/// have a server with TLS, so it fails there.
fn report_no_tls(error: &tokio_postgres::Error) -> Option<TlsServer> {
    assert!(
        std::env::var_os("CI").is_none(),
        "this PostgreSQL has no TLS: {error}; expected one from the distribution's packages"
    );
    let _ = writeln!(
        std::io::stderr(),
        "NOT TESTED: sslmode, since this PostgreSQL has no TLS; Debian's and Homebrew's have"
    );
    None
}

/// Creates the certificate of an authority, a certificate for `localhost` signed by it, and its
/// key. All are PEM texts.
fn certificates() -> (String, String, String) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let own = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    (certificate.pem(), own.pem(), key.serialize_pem())
}

/// Writes a file with the server's owner and mode 0600. The server refuses a key that others may
/// read or that belongs to another user.
fn write_server_file(folder: &Path, name: &str, text: &str) {
    let (path, owner) = (folder.join(name), fs::metadata(folder).unwrap());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
}

#[tokio::test]
async fn each_sslmode_performs_its_checks() {
    let Some(server) = TlsServer::start().await else {
        return;
    };
    for parameters in ["sslmode=disable", "sslmode=prefer", "sslmode=require"] {
        server
            .connect("postgres", "127.0.0.1", parameters)
            .await
            .unwrap();
    }
    for roots in [&server.authority, &server.certificate] {
        let with_roots = |mode: &str| format!("sslmode={mode}&sslrootcert={}", roots.display());
        server
            .connect("postgres", "127.0.0.1", &with_roots("require"))
            .await
            .unwrap();
        server
            .connect("postgres", "127.0.0.1", &with_roots("verify-ca"))
            .await
            .unwrap();
        server
            .connect("postgres", "localhost", &with_roots("verify-full"))
            .await
            .unwrap();
        let error = server
            .connect("postgres", "127.0.0.1", &with_roots("verify-full"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, DatabaseError::Unavailable { .. }),
            "another name: {error}"
        );
    }
    if Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        for parameters in [
            "sslrootcert=system",
            "sslmode=verify-ca",
            "sslmode=verify-full",
        ] {
            let error = server
                .connect("postgres", "localhost", parameters)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("UnknownIssuer"), "{parameters}: {error}");
        }
    }
}

#[tokio::test]
async fn password_is_bound_to_the_certificate() {
    let Some(server) = TlsServer::start().await else {
        return;
    };
    let verified = format!(
        "sslmode=verify-full&sslrootcert={}&channel_binding=require",
        server.authority.display()
    );
    server
        .connect("keyed:open%20sesame", "localhost", &verified)
        .await
        .unwrap();
    let error = server
        .connect("keyed:sesame", "localhost", &verified)
        .await
        .unwrap_err();
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[test]
fn missing_certificates_are_a_settings_error() {
    let config = Config {
        listen_url: Some(Secret::new(
            "postgresql://h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
        )),
        ..Config::new("postgresql://h/d")
    };
    let ConfigError { setting, mistake } = Database::open(&config).unwrap_err();
    assert_eq!(setting, UrlSetting::ListenUrl);
    assert!(
        mistake
            .to_string()
            .contains("`sslrootcert`: /nowhere/ca.pem"),
        "{mistake}"
    );
}
