//! A network that misbehaves: a TCP proxy before the database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

/// What the network does to every connection through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// One byte at a time.
    Trickle,
    /// Each piece arrives so much later.
    Slow(Duration),
    /// Nothing arrives, and nothing is lost: it goes on when the mode changes.
    BlackHole,
    /// Nobody answers at this address.
    Refuse,
}

/// What happens once, to the connections of that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// Both ends are reset.
    Cut,
    /// The server's end is gone, and the client's never hears of it.
    HalfOpen,
}

/// One address in front of another. It ends when dropped.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    blows: broadcast::Sender<Blow>,
    accepting: tokio::task::JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy for a local port.
    pub(crate) async fn start(port: u16, mode: Mode) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (mode, modes) = watch::channel(mode);
        let (blows, _) = broadcast::channel(16);
        let felt = blows.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *modes.borrow() == Mode::Refuse {
                    reset(client);
                    continue;
                }
                tokio::spawn(carry(client, port, modes.clone(), felt.subscribe()));
            }
        });
        Self {
            address,
            mode,
            blows,
            accepting,
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Resets all connections.
    pub(crate) fn cut(&self) {
        let _nobody = self.blows.send(Blow::Cut);
    }

    /// Ends all connections at the server's side, in silence.
    pub(crate) fn half_open(&self) {
        let _nobody = self.blows.send(Blow::HalfOpen);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// Closes with a reset and not in order.
fn reset(stream: TcpStream) {
    let _gone = stream.set_zero_linger();
}

async fn carry(
    client: TcpStream,
    port: u16,
    modes: watch::Receiver<Mode>,
    mut blows: broadcast::Receiver<Blow>,
) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return reset(client);
    };
    let _dead = (client.set_nodelay(true), server.set_nodelay(true));
    let (client, server) = (Arc::new(client), Arc::new(server));
    let carrying = async {
        tokio::select! {
            () = pump(&client, &server, modes.clone()) => {}
            () = pump(&server, &client, modes) => {}
        }
    };
    let blow = tokio::select! {
        () = carrying => return,
        blow = blows.recv() => blow.unwrap_or(Blow::Cut),
    };
    if let Ok(server) = Arc::try_unwrap(server) {
        reset(server);
    }
    let Ok(client) = Arc::try_unwrap(client) else {
        return;
    };
    if blow == Blow::HalfOpen {
        swallow(&client, &mut blows).await;
    }
    reset(client);
}

/// Takes what the client says, and answers nothing, until everything is cut or the client goes.
async fn swallow(client: &TcpStream, blows: &mut broadcast::Receiver<Blow>) {
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            ready = client.readable() => {
                if ready.is_err() || matches!(client.try_read(&mut buffer), Ok(0)) {
                    return;
                }
            }
            blow = blows.recv() => if blow != Ok(Blow::HalfOpen) { return },
        }
    }
}

/// Carries bytes one way until one of the ends goes.
async fn pump(from: &TcpStream, to: &TcpStream, mut modes: watch::Receiver<Mode>) {
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
            let piece = match pause(&mut modes).await {
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

/// Waits as the mode wants, and says how many bytes may go; None: the proxy is gone.
async fn pause(modes: &mut watch::Receiver<Mode>) -> Option<usize> {
    let mode = *modes.wait_for(|mode| *mode != Mode::BlackHole).await.ok()?;
    match mode {
        Mode::Trickle => Some(1),
        Mode::Slow(time) => {
            tokio::time::sleep(time).await;
            Some(usize::MAX)
        }
        Mode::Pass | Mode::BlackHole | Mode::Refuse => Some(usize::MAX),
    }
}
