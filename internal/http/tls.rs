//! TLS at our own door.
//!
//! A shard owns plain sockets, so a task of the runtime ends the TLS and passes what it says on over a pair of local sockets, whose other end
//! is a connection like any: one set of rules, one session code. It costs what a plain connection does not: a task, rustls's state and
//! two buffers (28 KiB in all while it waits), and one copy each way. Where a proxy ends TLS anyway, leave it to the proxy.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as LocalStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, fs, io};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use crate::drain::Drain;
use crate::http::connection::Front;
use crate::shard::{Caller, SEND_BUFFER_BYTES};

/// Read from one side before it is written to the other, in bytes.
const BUFFER_BYTES: usize = 8 * 1024;
/// How long a client may take to hang up after we have.
const LINGER: Duration = Duration::from_secs(5);

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then those between it and its authority.
    pub certificates: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// How often they are looked at, to be read again when they changed.
    pub every: Duration,
}

/// Why the files are no good. Nothing of a key is in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{} could not be read: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It holds no certificate or key in PEM.
    #[error("{} holds no {expected} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
    },
    /// They don't belong together, or are of a kind that can't be used.
    #[error("certificate and key can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate in use. Clones share it.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    /// Replaced by the task that looks at the files; read at each accept.
    current: Arc<Mutex<Current>>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// Of what was read last, whether or not it was any good.
    seen: [u8; 32],
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// They are no good; see [`TlsError`].
    pub fn open(files: &TlsFiles) -> Result<Self, TlsError> {
        let (certificates, key) = read(files)?;
        let config = server_config(files, &certificates, &key)?;
        let current = Current {
            config,
            seen: hash(&certificates, &key),
        };
        Ok(Self {
            files: Arc::new(files.clone()),
            current: Arc::new(Mutex::new(current)),
        })
    }

    /// Starts the task that reads the files again when they change. Files that are no good change nothing.
    pub fn keep(&self, drain: &Drain) {
        let tls = self.clone();
        drain.spawn_until_stop(async move {
            loop {
                tokio::time::sleep(tls.files.every).await;
                match tls.look() {
                    Ok(true) => info!("the certificate was replaced"),
                    Ok(false) => {}
                    Err(error) => {
                        warn!(%error, "the certificate could not be replaced; the one before stays")
                    }
                }
            }
        });
    }

    /// Whether there was something new that is in use now. Two small files are read: nothing to leave the runtime for.
    fn look(&self) -> Result<bool, TlsError> {
        let (certificates, key) = read(&self.files)?;
        let seen = hash(&certificates, &key);
        if std::mem::replace(&mut self.lock().seen, seen) == seen {
            return Ok(false);
        }
        let config = server_config(&self.files, &certificates, &key)?;
        self.lock().config = config;
        Ok(true)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a connection that is to begin with TLS, within the deadline for its request.
    pub(super) fn knock(&self, front: &Arc<Front>, caller: Caller) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.lock().config));
        let front = Arc::clone(front);
        front.drain.clone().spawn(async move {
            let Caller { socket, address, permit, since } = caller;
            let accepted = tokio::select! {
                () = front.drain.stopping() => return,
                accepted = timeout_at((since + front.config.head_timeout).into(), accept(acceptor, socket)) => accepted,
            };
            let stream = match accepted {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    debug!(%error, peer = %address, "no TLS");
                    return front.metrics.refuse("tls");
                }
                Err(_) => return front.metrics.refuse("slow_head"),
            };
            let (inside, outside) = match pair() {
                Ok(pair) => pair,
                Err(error) => return warn!(%error, "no pair of local sockets for a TLS connection, which was dropped"),
            };
            front.let_speak(Caller { socket: inside, address, permit, since });
            relay(stream, outside, front.config.unacknowledged, address).await;
        });
    }
}

fn read(files: &TlsFiles) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|error| TlsError::Unreadable {
            path: path.to_owned(),
            error,
        })
    };
    Ok((read(&files.certificates)?, read(&files.key)?))
}

fn hash(certificates: &[u8], key: &[u8]) -> [u8; 32] {
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
) -> Result<Arc<ServerConfig>, TlsError> {
    let no = |path: &Path, expected| TlsError::Pem {
        path: path.to_owned(),
        expected,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|_| no(&files.certificates, "certificate"))?;
    if chain.is_empty() {
        return Err(no(&files.certificates, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| no(&files.key, "private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    // WebSockets begin with HTTP/1.1, and there is nothing else here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn accept(
    acceptor: TlsAcceptor,
    socket: std::net::TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    acceptor.accept(TcpStream::from_std(socket)?).await
}

/// Two ends of a local connection: the shard's, which looks like any socket to it, and ours.
fn pair() -> io::Result<(std::net::TcpStream, UnixStream)> {
    let (inside, outside) = LocalStream::pair()?;
    inside.set_nonblocking(true)?;
    outside.set_nonblocking(true)?;
    SockRef::from(&inside).set_send_buffer_size(SEND_BUFFER_BYTES)?;
    Ok((OwnedFd::from(inside).into(), UnixStream::from_std(outside)?))
}

/// Passes on what both sides say until one has gone. `stall`: how long a client may take nothing before it is given up.
async fn relay(
    stream: TlsStream<TcpStream>,
    outside: UnixStream,
    stall: Duration,
    peer: SocketAddr,
) {
    let (mut from_client, mut to_client) = tokio::io::split(stream);
    let (mut from_us, mut to_us) = outside.into_split();
    let inward = async {
        // A client that goes without a word of TLS has gone all the same.
        let copied = tokio::io::copy(&mut from_client, &mut to_us).await;
        let _ = to_us.shutdown().await;
        copied.map(drop)
    };
    let outward = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = from_us.read(&mut buffer).await?;
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
        said = &mut outward => {
            let _ = timeout(LINGER, inward).await;
            said
        }
        // The shard sees the end of the stream, says what it still has to say, and closes its side.
        heard = &mut inward => heard.and(timeout(LINGER, outward).await.unwrap_or(Ok(()))),
    };
    if let Err(error) = ended {
        debug!(%error, %peer, "a TLS connection ended badly");
    }
}
