//! TLS connections to the database with rustls, in the modes of libpq.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::certificate_v1::{self, PublicKeyV1};
use latido_settings::read_regular_file;

/// The maximum size of a file with certificates or a key, in bytes. The bundles of systems fit.
const MAX_BUNDLE_BYTES: u64 = 16 << 20;

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
pub(super) enum TrustedRoots {
    System,
    File(PathBuf),
}

/// The TLS settings of a database URL.
#[derive(Debug, Clone)]
pub(super) struct TlsOptions {
    pub(super) mode: TlsMode,
    pub(super) roots: TrustedRoots,
    /// The client certificate and its key, as files.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    /// True if the server's name is sent in clear when TLS begins.
    pub(super) sends_server_name: bool,
}

/// An error in the certificates or their use.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseTlsError {
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
pub(super) fn connector(choice: &TlsOptions) -> Result<MakeRustlsConnect, DatabaseTlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let verifier = build_verifier(choice, &provider)?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &choice.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, path)) => {
            let chain = read_certificates("sslcert", certificate)?;
            let pem = read_pem("sslkey", path)?;
            let key = PrivateKeyDer::from_pem_slice(&pem);
            let key = key.map_err(|e| file_error("sslkey", path, &e))?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.enable_sni = choice.sends_server_name;
    // Only `sslnegotiation=direct` needs it, and other servers accept it.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn build_verifier(
    choice: &TlsOptions,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerVerifier, DatabaseTlsError> {
    let provider = provider.clone();
    if !matches!(choice.mode, TlsMode::VerifyCa | TlsMode::VerifyFull) {
        return Ok(ServerVerifier {
            provider,
            chain_verifier: None,
            pinned: Vec::new(),
            verify_name: false,
        });
    }
    let certificates = match &choice.roots {
        TrustedRoots::System => rustls_native_certs::load_native_certs().certs,
        TrustedRoots::File(path) => read_certificates("sslrootcert", path)?,
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    match &choice.roots {
        TrustedRoots::System if roots.is_empty() => return Err(DatabaseTlsError::NoRoots),
        TrustedRoots::File(path) if roots.is_empty() => {
            let reason = "holds no certificate that can verify another (of X.509 version 3)";
            return Err(file_error("sslrootcert", path, &reason));
        }
        _ => {}
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let pinned = if choice.roots == TrustedRoots::System {
        Vec::new()
    } else {
        certificates
    };
    Ok(ServerVerifier {
        provider,
        chain_verifier: Some(chain),
        pinned,
        verify_name: choice.mode == TlsMode::VerifyFull,
    })
}

fn read_certificates(
    name: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, DatabaseTlsError> {
    let pem = read_pem(name, path)?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|e| file_error(name, path, &e))?;
    if all.is_empty() {
        return Err(DatabaseTlsError::File {
            name,
            path: path.to_owned(),
            reason: "holds no certificate (expected PEM)".to_owned(),
        });
    }
    Ok(all)
}

fn read_pem(name: &'static str, path: &Path) -> Result<Vec<u8>, DatabaseTlsError> {
    read_regular_file(path, MAX_BUNDLE_BYTES).map_err(|error| file_error(name, path, &error))
}

fn file_error(name: &'static str, path: &Path, error: &dyn std::fmt::Display) -> DatabaseTlsError {
    DatabaseTlsError::File {
        name,
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Checks the server's certificate as far as the mode requires. Handshake signatures are always
/// checked.
#[derive(Debug)]
struct ServerVerifier {
    provider: Arc<CryptoProvider>,
    /// The verifier of certificate chains; `None` accepts any certificate.
    chain_verifier: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates of `sslrootcert`, which a server may present itself. Self-signed
    /// certificates are common with Postgres, and webpki would refuse a root as an end-entity
    /// certificate.
    pinned: Vec<CertificateDer<'static>>,
    verify_name: bool,
}

/// The reason for refusing a certificate of version 1 where it must be verified.
const VERSION_1_TEXT: &str = "the server's certificate is of X.509 version 1, which names no host and cannot be verified; \
     make one of version 3 with a subjectAltName (openssl: -addext or -extfile), or use sslmode=require";

impl ServerVerifier {
    /// Checks the handshake's signature of TLS 1.2 by the key of a certificate of version 1.
    fn verify_version_1(
        &self,
        message: &[u8],
        key: &PublicKeyV1<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let of_scheme = algorithms.mapping.iter();
        let is_valid = of_scheme
            .filter(|(scheme, _)| *scheme == signature.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
            .any(|algorithm| {
                algorithm
                    .verify_signature(key.key, message, signature.signature())
                    .is_ok()
            });
        if is_valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain_verifier else {
            return Ok(ServerCertVerified::assertion());
        };
        if certificate_v1::public_key(end_entity).is_some() {
            return Err(Error::General(VERSION_1_TEXT.to_owned()));
        }
        if self
            .pinned
            .iter()
            .any(|root| root.as_ref() == end_entity.as_ref())
        {
            if self.verify_name {
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
            )) if !self.verify_name => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if let Some(key) = certificate_v1::public_key(certificate) {
            return self.verify_version_1(message, &key, signature);
        }
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
        if let Some(key) = certificate_v1::public_key(certificate) {
            return verify_tls13_signature_with_raw_key(
                message,
                &key.info,
                signature,
                &self.provider.signature_verification_algorithms,
            );
        }
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
