//! A loopback port that no other test and no outgoing connection takes while a server is restarted.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port that is reserved while this value lives. Servers with `REUSE_PORT` can listen on it.
///
/// The socket is bound and never listens, so it gets no connection, and a connection attempt is
/// refused while no server listens.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl ReservedPort {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // As the servers do. A bind to any free port and an outgoing connection still avoid it.
        socket.set_reuseaddr(true).expect("an option of TCP");
        socket.set_reuseport(true).expect("an option of TCP");
        socket
            .bind((Ipv4Addr::LOCALHOST, 0).into())
            .expect("a free port");
        Self {
            address: socket.local_addr().expect("an address"),
            _socket: socket,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the port as a value of the setting `PORT`.
    pub(crate) fn number(&self) -> String {
        self.address.port().to_string()
    }
}
