//! The `sslmode` setting against a server with a certificate for `localhost`, signed by a test
//! authority.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use base64::Engine;
use latido_base::secret::Secret;
use latido_postgres::{Config, ConfigError, Database, DatabaseError, UrlSetting};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SigningKey};

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

/// Returns a certificate in the form of X.509 version 1, signed by its own key. It has neither a
/// version nor extensions, and is otherwise the one for `localhost`.
fn version_1_certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let signed = first_element(contents(made.der()));
    let mut rest = contents(signed);
    let mut kept = Vec::new();
    while !rest.is_empty() {
        let element = first_element(rest);
        // The version is [0] and the extensions are [3].
        if element[0] & 0xE0 != 0xA0 {
            kept.extend_from_slice(element);
        }
        rest = &rest[element.len()..];
    }
    let signed_v1 = der(0x30, &kept);
    let signature = key.sign(&signed_v1).unwrap();
    let algorithm = first_element(&contents(made.der())[signed.len()..]);
    let bits = der(0x03, &[&[0], &signature[..]].concat());
    let whole = der(0x30, &[&signed_v1, algorithm, &bits].concat());
    let text = base64::engine::general_purpose::STANDARD.encode(whole);
    let label = "CERTIFICATE";
    (
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n"),
        key.serialize_pem(),
    )
}

/// Returns the bytes of a DER element's header and contents.
fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], contents].concat()
}

/// Returns the lengths of a DER element's header and contents.
fn lengths(element: &[u8]) -> (usize, usize) {
    match element[1] {
        0x81 => (3, usize::from(element[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([element[2], element[3]]))),
        short => (2, usize::from(short)),
    }
}

fn first_element(bytes: &[u8]) -> &[u8] {
    let (header, contents) = lengths(bytes);
    &bytes[..header + contents]
}

fn contents(element: &[u8]) -> &[u8] {
    let (header, contents) = lengths(element);
    &element[header..header + contents]
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

#[tokio::test]
async fn certificate_of_version_1_works_where_nothing_is_verified() {
    let Some(mut server) = TlsServer::start().await else {
        return;
    };
    let folder = server.cluster.data_dir().to_owned();
    let (certificate, key) = version_1_certificate();
    write_server_file(&folder, "server.crt", &certificate);
    write_server_file(&folder, "server.key", &key);
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let set = format!("ALTER SYSTEM SET ssl_max_protocol_version = '{versions}'");
        let client = server.cluster.client().await;
        client.batch_execute(&set).await.unwrap();
        server.cluster.restart().await;
        for parameters in ["sslmode=prefer", "sslmode=require"] {
            server
                .connect("postgres", "localhost", parameters)
                .await
                .unwrap_or_else(|error| panic!("{versions} {parameters}: {error}"));
        }
        for mode in ["verify-ca", "verify-full"] {
            let root = server.authority.display();
            let parameters = format!("sslmode={mode}&sslrootcert={root}");
            let error = server
                .connect("postgres", "localhost", &parameters)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("X.509 version 1"), "{error}");
            assert_eq!(error.matches("X.509").count(), 1, "{error}");
        }
    }
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
