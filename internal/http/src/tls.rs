//! TLS termination by the server itself.
//!
//! A shard owns plain sockets. So a task of the runtime terminates TLS and relays the plain bytes
//! over a pair of local sockets. The pair's other end is a connection like any other, with one set
//! of rules and one session code. Each TLS connection costs a task, rustls's state and two buffers
//! (28 KiB in all while idle), and one copy each way. If a proxy terminates TLS anyway, leave it to
//! the proxy.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as LocalStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use latido_admission::SEND_BUFFER_BYTES;
use latido_base::drain::Drain;
use latido_settings::{MAX_PEM_BYTES, read_regular_file};

/// The buffer from server to client, in bytes.
const BUFFER_BYTES: usize = 8 * 1024;

/// The time a client may take to close after the server has closed.
const LINGER: Duration = Duration::from_secs(5);

/// The files of certificate and key, and the interval at which they are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then those between it and its authority.
    pub certificates: PathBuf,
    /// PEM: the server's private key.
    pub key: PathBuf,
    /// The interval at which the files are checked, and reloaded if they changed.
    pub check_interval: Duration,
}

/// The reason the files can't be used. It contains nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file could not be read.
    #[error("{} could not be read: {error}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error from the file system.
        error: io::Error,
    },
    /// A file holds no certificate or no key in PEM.
    #[error("{} holds no {expected} in PEM", path.display())]
    Pem {
        /// The path of the file.
        path: PathBuf,
        /// The expected content: a certificate or a private key.
        expected: &'static str,
    },
    /// Certificate and key don't belong together, or are of an unsupported kind.
    #[error("certificate and key can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate in use. Clones share it.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    /// Replaced by the reload task; read at each accept.
    current: Arc<Mutex<LoadedCertificate>>,
}

struct LoadedCertificate {
    config: Arc<ServerConfig>,
    /// The hash of the files last read, valid or not.
    file_hash: [u8; 32],
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate and key files.
    ///
    /// # Errors
    /// The files can't be used; see [`ServerTlsError`].
    pub fn open(files: &TlsFiles) -> Result<Self, ServerTlsError> {
        let (certificates, key) = read_files(files)?;
        let config = server_config(files, &certificates, &key)?;
        let current = LoadedCertificate {
            config,
            file_hash: hash_files(&certificates, &key),
        };
        Ok(Self {
            files: Arc::new(files.clone()),
            current: Arc::new(Mutex::new(current)),
        })
    }

    /// Starts the task that reloads the files when they change. Invalid files leave the certificate
    /// in use.
    pub fn start_reload(&self, drain: &Drain) {
        let tls = self.clone();
        drain.spawn_until_stop(async move {
            loop {
                tokio::time::sleep(tls.files.check_interval).await;
                match tls.reload() {
                    Ok(true) => info!("the certificate was replaced"),
                    Ok(false) => {}
                    Err(error) => {
                        warn!(%error, "the certificate could not be replaced; the one before stays")
                    }
                }
            }
        });
    }

    /// Returns whether a new certificate is now in use. Blocks to read two small files, which is
    /// not worth a blocking thread.
    fn reload(&self) -> Result<bool, ServerTlsError> {
        let (certificates, key) = read_files(&self.files)?;
        let seen = hash_files(&certificates, &key);
        if std::mem::replace(&mut self.lock_current().file_hash, seen) == seen {
            return Ok(false);
        }
        let config = server_config(&self.files, &certificates, &key)?;
        self.lock_current().config = config;
        Ok(true)
    }

    fn lock_current(&self) -> std::sync::MutexGuard<'_, LoadedCertificate> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the handshake of a connection with the certificate in use.
    pub(super) fn accept(
        &self,
        socket: std::net::TcpStream,
    ) -> impl Future<Output = io::Result<TlsStream<TcpStream>>> + use<> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.lock_current().config));
        async move { acceptor.accept(TcpStream::from_std(socket)?).await }
    }
}

fn read_files(files: &TlsFiles) -> Result<(Vec<u8>, Vec<u8>), ServerTlsError> {
    let read = |path: &Path| {
        read_regular_file(path, MAX_PEM_BYTES).map_err(|error| ServerTlsError::Unreadable {
            path: path.to_owned(),
            error: error.into(),
        })
    };
    Ok((read(&files.certificates)?, read(&files.key)?))
}

fn hash_files(certificates: &[u8], key: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(certificates)
        .chain_update([0])
        .chain_update(key)
        .finalize()
        .into()
}

fn server_config(
    files: &TlsFiles,
    certificates: &[u8],
    key: &[u8],
) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let invalid = |path: &Path, expected| ServerTlsError::Pem {
        path: path.to_owned(),
        expected,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|_| invalid(&files.certificates, "certificate"))?;
    if chain.is_empty() {
        return Err(invalid(&files.certificates, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| invalid(&files.key, "private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    // WebSockets start with HTTP/1.1, and no other protocol is served here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Creates the two ends of a local connection: the shard's, which looks like any socket to it, and
/// the relay's.
pub(super) fn local_pair() -> io::Result<(std::net::TcpStream, UnixStream)> {
    let (shard_end, relay_end) = LocalStream::pair()?;
    shard_end.set_nonblocking(true)?;
    relay_end.set_nonblocking(true)?;
    SockRef::from(&shard_end).set_send_buffer_size(SEND_BUFFER_BYTES)?;
    Ok((
        OwnedFd::from(shard_end).into(),
        UnixStream::from_std(relay_end)?,
    ))
}

/// Relays bytes in both directions until one side has closed. `stall` is the time a client may
/// accept no bytes before it is disconnected.
pub(super) async fn relay(
    stream: TlsStream<TcpStream>,
    relay_end: UnixStream,
    stall: Duration,
    peer: SocketAddr,
) {
    let (mut from_client, mut to_client) = tokio::io::split(stream);
    let (mut from_shard, mut to_shard) = relay_end.into_split();
    let inward = async {
        // A client that closes without a TLS close_notify has closed all the same.
        let copied = tokio::io::copy(&mut from_client, &mut to_shard).await;
        let _ = to_shard.shutdown().await;
        copied.map(drop)
    };
    let outward = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = from_shard.read(&mut buffer).await?;
            if count == 0 {
                return to_client.shutdown().await;
            }
            let sent = timeout(stall, async {
                to_client.write_all(&buffer[..count]).await?;
                to_client.flush().await
            });
            sent.await.map_err(|_| io::ErrorKind::TimedOut)??;
        }
    };
    tokio::pin!(inward, outward);
    let ended: io::Result<()> = tokio::select! {
        result = &mut outward => {
            let _ = timeout(LINGER, inward).await;
            result
        }
        // The shard sees the end of the stream, sends its remaining bytes, and closes its side.
        result = &mut inward => result.and(timeout(LINGER, outward).await.unwrap_or(Ok(()))),
    };
    if let Err(error) = ended {
        debug!(%error, %peer, "a TLS connection ended badly");
    }
}
