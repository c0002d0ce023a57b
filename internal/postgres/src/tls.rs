//! TLS connections to the database with rustls, in the modes of libpq.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The TLS mode that `sslmode` selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    Disable,
    /// Encrypted if the server supports it, without certificate checks. `allow` is treated the
    /// same.
    Prefer,
    /// Always encrypted, without certificate checks.
    Require,
    /// Encrypted; the certificate must chain to a trusted root.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must contain the host's name.
    VerifyFull,
}

impl TlsMode {
    pub(super) const NAMES: &'static str =
        "disable, allow, prefer, require, verify-ca or verify-full";

    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "disable" => Self::Disable,
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// The root certificates to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    System,
    File(PathBuf),
}

/// The TLS settings of a database URL.
#[derive(Debug, Clone)]
pub(super) struct TlsChoice {
    pub(super) mode: TlsMode,
    pub(super) roots: Roots,
    /// The client certificate and its key, as files.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

/// An error in the certificates or their use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file named in the URL cannot be used.
    #[error("parameter `{name}`: {path}: {reason}")]
    File {
        /// The URL parameter that names the file.
        name: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The reason why the file cannot be used.
        reason: String,
    },
    /// The mode is `verify-ca` or `verify-full`, but there are no root certificates.
    #[error("the system has no root certificates; expected sslrootcert=/path/to/ca.pem")]
    NoRoots,
    /// An error that rustls reports.
    #[error("TLS: {0}")]
    Rustls(#[from] Error),
}

/// Creates the connector for these settings. Reads the certificate files once, here.
pub(super) fn connector(choice: &TlsChoice) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let verifier = verifier(choice, &provider)?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &choice.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = read_certificates("sslcert", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| file("sslkey", key, &e))?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    // Only `sslnegotiation=direct` needs it, and other servers accept it.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(choice: &TlsChoice, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    let provider = provider.clone();
    if !matches!(choice.mode, TlsMode::VerifyCa | TlsMode::VerifyFull) {
        return Ok(Verifier {
            provider,
            chain: None,
            pinned: Vec::new(),
            name_matters: false,
        });
    }
    let certificates = match &choice.roots {
        Roots::System => rustls_native_certs::load_native_certs().certs,
        Roots::File(path) => read_certificates("sslrootcert", path)?,
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let pinned = if choice.roots == Roots::System {
        Vec::new()
    } else {
        certificates
    };
    Ok(Verifier {
        provider,
        chain: Some(chain),
        pinned,
        name_matters: choice.mode == TlsMode::VerifyFull,
    })
}

fn read_certificates(
    name: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|e| file(name, path, &e))?;
    if all.is_empty() {
        return Err(TlsError::File {
            name,
            path: path.to_owned(),
            reason: "holds no certificate (expected PEM)".to_owned(),
        });
    }
    Ok(all)
}

fn file(name: &'static str, path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::File {
        name,
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Checks the server's certificate as far as the mode requires. Handshake signatures are always
/// checked.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// The verifier of certificate chains; `None` accepts any certificate.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates of `sslrootcert`, which a server may present itself. Self-signed
    /// certificates are common with Postgres, and webpki would refuse a root as an end-entity
    /// certificate.
    pinned: Vec<CertificateDer<'static>>,
    name_matters: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        if self
            .pinned
            .iter()
            .any(|root| root.as_ref() == end_entity.as_ref())
        {
            if self.name_matters {
                rustls::client::verify_server_name(
                    &ParsedCertificate::try_from(end_entity)?,
                    name,
                )?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match chain.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // webpki checks the name last, so everything else was valid.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name_matters => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
