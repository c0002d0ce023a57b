//! Goodbye to a connection that finds no seat: one write, no parsing, no task unless the client deserves a moment to read it.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::drain::Drain;
use crate::http::refusal::json_error;
use crate::http::seats::Full;

/// Goodbyes that may linger at a time; beyond them a connection is just dropped.
const MAX_LINGERING: usize = 64;
/// How long one may.
const LINGER: Duration = Duration::from_secs(1);
/// Seconds after which to try again.
const RETRY_AFTER_S: u32 = 5;

/// Says goodbye to connections over the limit.
#[derive(Debug)]
pub(super) struct Farewell {
    lingering: Arc<Semaphore>,
    drain: Drain,
}

impl Farewell {
    pub(super) fn new(drain: Drain) -> Self {
        Self {
            lingering: Arc::new(Semaphore::new(MAX_LINGERING)),
            drain,
        }
    }

    /// Sends `503` and closes. To close while the client's request lies unread would reset the connection, and the client would see an
    /// error instead of the answer; so a few get a second in which what they say is read and thrown away.
    pub(super) fn bid(&self, mut socket: std::net::TcpStream, full: Full) {
        let sent =
            socket.write(text(full).as_bytes()).is_ok() && socket.shutdown(Shutdown::Write).is_ok();
        let Ok(permit) = Arc::clone(&self.lingering).try_acquire_owned() else {
            return;
        };
        let Ok(mut socket) = TcpStream::from_std(socket) else {
            return;
        };
        if sent {
            self.drain.spawn_until_stop(async move {
                let mut heard = [0; 1024];
                let _ = tokio::time::timeout(LINGER, async {
                    while let Ok(1..) = socket.read(&mut heard).await {}
                })
                .await;
                drop(permit);
            });
        }
    }
}

fn text(full: Full) -> String {
    let (code, message) = match full {
        Full::House => (
            "connection_limit",
            "the server has all the connections it can hold; come back later",
        ),
        Full::Rush => (
            "handshake_rate",
            "too many connect at once; come back in a moment",
        ),
        Full::Address => ("address_limit", "too many connections from this address"),
    };
    let body = json_error(code, message);
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: {RETRY_AFTER_S}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
