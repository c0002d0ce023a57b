//! The response to a connection over the limits: one write, no parsing, and a task only for a few
//! clients that get time to read it.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::connection_limits::LimitExceeded;
use crate::json_error::json_error;
use latido_base::drain::Drain;

/// The most rejected connections that linger at a time; further ones are closed at once.
const MAX_LINGERING: usize = 64;
/// The time a rejected connection may linger.
const LINGER: Duration = Duration::from_secs(1);
/// The `Retry-After` of the response, in seconds.
const RETRY_AFTER_S: u32 = 5;

/// Rejects connections over the limits.
#[derive(Debug)]
pub(super) struct OverloadResponder {
    lingering: Arc<Semaphore>,
    drain: Drain,
    /// The runtime of the lingering connections; the caller may be a shard's thread.
    runtime: Handle,
}

impl OverloadResponder {
    /// Creates the responder of one listener. Must be called on the server's runtime.
    pub(super) fn new(drain: Drain) -> Self {
        Self {
            lingering: Arc::new(Semaphore::new(MAX_LINGERING)),
            drain,
            runtime: Handle::current(),
        }
    }

    /// Sends `503` and closes. Closing while the client's request is unread would reset the
    /// connection, and the client would see an error instead of the response. So a few connections
    /// get a second in which their bytes are read and thrown away.
    pub(super) fn reject(&self, mut socket: std::net::TcpStream, exceeded: LimitExceeded) {
        let _runtime = self.runtime.enter();
        let sent = socket.write(response_text(exceeded).as_bytes()).is_ok()
            && socket.shutdown(Shutdown::Write).is_ok();
        let Ok(permit) = Arc::clone(&self.lingering).try_acquire_owned() else {
            return;
        };
        let Ok(mut socket) = TcpStream::from_std(socket) else {
            return;
        };
        if sent {
            self.drain.spawn_until_stop(async move {
                let mut discarded = [0; 1024];
                let _ = tokio::time::timeout(LINGER, async {
                    while let Ok(1..) = socket.read(&mut discarded).await {}
                })
                .await;
                drop(permit);
            });
        }
    }
}

fn response_text(exceeded: LimitExceeded) -> String {
    let message = match exceeded {
        LimitExceeded::Total => "the server has all the connections it can hold; come back later",
        LimitExceeded::ConnectRate => "too many connect at once; come back in a moment",
        LimitExceeded::PerAddress => "too many connections from this address",
    };
    let body = json_error(exceeded.label(), message);
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: {RETRY_AFTER_S}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
