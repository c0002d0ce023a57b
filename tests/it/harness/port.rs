//! Loopback ports that no other test and no outgoing connection takes while a server is restarted.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tokio::net::TcpSocket;

/// The lowest port to try. Below it, well-known services live.
const LOWEST_PORT: u16 = 10_000;

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

/// Returns a free port that the system never hands out, for a server without `SO_REUSEPORT`, such
/// as PostgreSQL. A reserved socket would keep it from listening.
pub(crate) fn port_outside_ephemeral_range() -> u16 {
    // https://docs.kernel.org/networking/ip-sysctl.html, ip_local_port_range; 32768 is its default.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let lowest = range
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|lowest| *lowest > LOWEST_PORT)
        .unwrap_or(32_768_u16);
    std::iter::repeat_with(|| fastrand::u16(LOWEST_PORT..lowest))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}
