//! The sources of listening sockets: inherited from a service manager that keeps them over a
//! restart (systemd), or bound here.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use crate::listen::{self, HttpListener};

/// The sockets inherited by this process, and the options for binding others. Created once, at the
/// start.
#[derive(Debug)]
pub struct ListenSockets {
    inherited: Vec<TcpListener>,
    reuse_port: bool,
}

impl ListenSockets {
    /// Takes the inherited sockets (`LISTEN_FDS`, meant for this process). With `reuse_port`, other
    /// processes may listen on the same ports.
    ///
    /// # Errors
    /// An inherited descriptor is no listening TCP socket.
    pub fn from_env(reuse_port: bool) -> io::Result<Self> {
        let mut inherited = ListenFd::from_env();
        let mut handed = Vec::new();
        for index in 0..inherited.len() {
            handed.extend(inherited.take_tcp_listener(index)?);
        }
        Ok(Self {
            inherited: handed,
            reuse_port,
        })
    }

    /// Returns the inherited socket for this port, or binds the address. An inherited socket keeps
    /// its own address, because the service manager chose it.
    ///
    /// # Errors
    /// The address can't be bound.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<HttpListener> {
        let has_port = |socket: &TcpListener| {
            socket
                .local_addr()
                .is_ok_and(|inherited| inherited.port() == address.port())
        };
        match self.inherited.iter().position(has_port) {
            Some(index) => listen::from_listening_socket(self.inherited.swap_remove(index)),
            None => listen::bind_one(address, self.reuse_port),
        }
    }

    /// Returns the inherited ports that no listener used, because a setting names another port.
    pub fn unused_ports(&self) -> Vec<u16> {
        self.inherited
            .iter()
            .filter_map(|socket| Some(socket.local_addr().ok()?.port()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_shared_only_with_reuse_port() {
        let (mut one, mut other) = (
            ListenSockets::from_env(true).unwrap(),
            ListenSockets::from_env(true).unwrap(),
        );
        let first = one.listen(([127, 0, 0, 1], 0).into()).unwrap();
        let second = other.listen(first.address()).unwrap();
        assert_eq!(second.address(), first.address());
        let refused = ListenSockets::from_env(false)
            .unwrap()
            .listen(first.address())
            .unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn inherited_socket_is_found_by_its_port() {
        let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = inherited.local_addr().unwrap();
        let mut sockets = ListenSockets {
            inherited: vec![inherited],
            reuse_port: false,
        };
        assert_eq!(sockets.unused_ports(), [address.port()]);
        // Any address will do: the inherited socket has its own.
        let listener = sockets
            .listen(([0, 0, 0, 0], address.port()).into())
            .unwrap();
        assert_eq!(
            (listener.address(), sockets.unused_ports()),
            (address, Vec::new())
        );
    }
}
