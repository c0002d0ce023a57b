//! A TCP proxy in front of the database that simulates network faults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

/// The treatment that the proxy gives to every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyMode {
    Pass,
    /// Forwards one byte at a time.
    Trickle,
    /// Delays each piece by this duration.
    Slow(Duration),
    /// Forwards nothing and loses nothing. Traffic continues when the mode changes.
    BlackHole,
    /// Resets new connections at once.
    Refuse,
}

/// A single fault that hits all connections that are open at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionFault {
    /// Resets both ends of the connection.
    Reset,
    /// Closes the server's end without informing the client.
    HalfOpen,
}

/// A proxy address in front of a local port. Dropping the value ends the proxy.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    mode: watch::Sender<ProxyMode>,
    faults: broadcast::Sender<ConnectionFault>,
    accepting: tokio::task::JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy in front of a local port.
    pub(crate) async fn start(port: u16, mode: ProxyMode) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (mode, modes) = watch::channel(mode);
        let (blows, _) = broadcast::channel(16);
        let felt = blows.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *modes.borrow() == ProxyMode::Refuse {
                    reset(client);
                    continue;
                }
                tokio::spawn(relay(client, port, modes.clone(), felt.subscribe()));
            }
        });
        Self {
            address,
            mode,
            faults: blows,
            accepting,
        }
    }

    /// Returns the address to which clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_mode(&self, mode: ProxyMode) {
        self.mode.send_replace(mode);
    }

    /// Resets all open connections.
    pub(crate) fn reset_all(&self) {
        let _nobody = self.faults.send(ConnectionFault::Reset);
    }

    /// Ends all connections on the server's side without informing the clients.
    pub(crate) fn half_open_all(&self) {
        let _nobody = self.faults.send(ConnectionFault::HalfOpen);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.reset_all();
    }
}

/// Closes the connection with a TCP reset instead of an orderly shutdown.
fn reset(stream: TcpStream) {
    let _gone = stream.set_zero_linger();
}

async fn relay(
    client: TcpStream,
    port: u16,
    modes: watch::Receiver<ProxyMode>,
    mut blows: broadcast::Receiver<ConnectionFault>,
) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return reset(client);
    };
    let _dead = (client.set_nodelay(true), server.set_nodelay(true));
    let (client, server) = (Arc::new(client), Arc::new(server));
    let carrying = async {
        tokio::select! {
            () = copy_one_way(&client, &server, modes.clone()) => {}
            () = copy_one_way(&server, &client, modes) => {}
        }
    };
    let blow = tokio::select! {
        () = carrying => return,
        blow = blows.recv() => blow.unwrap_or(ConnectionFault::Reset),
    };
    if let Ok(server) = Arc::try_unwrap(server) {
        reset(server);
    }
    let Ok(client) = Arc::try_unwrap(client) else {
        return;
    };
    if blow == ConnectionFault::HalfOpen {
        discard_input(&client, &mut blows).await;
    }
    reset(client);
}

/// Reads and discards the client's bytes until all connections are reset or the client disconnects.
async fn discard_input(client: &TcpStream, blows: &mut broadcast::Receiver<ConnectionFault>) {
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            ready = client.readable() => {
                if ready.is_err() || matches!(client.try_read(&mut buffer), Ok(0)) {
                    return;
                }
            }
            blow = blows.recv() => if blow != Ok(ConnectionFault::HalfOpen) { return },
        }
    }
}

/// Copies bytes in one direction until one end closes.
async fn copy_one_way(from: &TcpStream, to: &TcpStream, mut modes: watch::Receiver<ProxyMode>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if from.readable().await.is_err() {
            return;
        }
        let count = match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let piece = match wait_for_mode(&mut modes).await {
                Some(piece) => piece.min(rest.len()),
                None => return,
            };
            if to.writable().await.is_err() {
                return;
            }
            match to.try_write(&rest[..piece]) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// Waits as the mode requires and returns the number of bytes that may be sent. Returns `None` if
/// the proxy is gone.
async fn wait_for_mode(modes: &mut watch::Receiver<ProxyMode>) -> Option<usize> {
    let mode = *modes
        .wait_for(|mode| *mode != ProxyMode::BlackHole)
        .await
        .ok()?;
    match mode {
        ProxyMode::Trickle => Some(1),
        ProxyMode::Slow(time) => {
            tokio::time::sleep(time).await;
            Some(usize::MAX)
        }
        ProxyMode::Pass | ProxyMode::BlackHole | ProxyMode::Refuse => Some(usize::MAX),
    }
}
