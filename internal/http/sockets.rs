//! Where the listening sockets come from: from whoever started us and keeps them over a restart (systemd), or they are bound here.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use crate::http::accept::{self, Listener};

/// The sockets that were handed to this process, and how others are bound. Taken once, at the start.
#[derive(Debug)]
pub struct Sockets {
    handed: Vec<TcpListener>,
    reuse_port: bool,
}

impl Sockets {
    /// Takes what was handed over (`LISTEN_FDS`, meant for this process). `reuse_port`: other processes may listen on the same ports.
    ///
    /// # Errors
    /// What was handed over is no listening TCP socket.
    pub fn take(reuse_port: bool) -> io::Result<Self> {
        let mut given = ListenFd::from_env();
        let mut handed = Vec::new();
        for place in 0..given.len() {
            handed.extend(given.take_tcp_listener(place)?);
        }
        Ok(Self { handed, reuse_port })
    }

    /// The socket that was handed over for this port, or one that is bound to the address. A socket that was handed over counts with
    /// the address that it has: whoever opened it decided that.
    ///
    /// # Errors
    /// The address can't be bound.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<Listener> {
        let is_it = |socket: &TcpListener| {
            socket
                .local_addr()
                .is_ok_and(|handed| handed.port() == address.port())
        };
        match self.handed.iter().position(is_it) {
            Some(place) => accept::adopt(self.handed.swap_remove(place)),
            None => accept::bind_one(address, self.reuse_port),
        }
    }

    /// Ports that were handed over and that nobody asked for: a setting names another one.
    pub fn unused(&self) -> Vec<u16> {
        self.handed
            .iter()
            .filter_map(|socket| Some(socket.local_addr().ok()?.port()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_shared_only_by_those_who_say_so() {
        let (mut one, mut other) = (Sockets::take(true).unwrap(), Sockets::take(true).unwrap());
        let first = one.listen(([127, 0, 0, 1], 0).into()).unwrap();
        let second = other.listen(first.address()).unwrap();
        assert_eq!(second.address(), first.address());
        let refused = Sockets::take(false)
            .unwrap()
            .listen(first.address())
            .unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn what_was_handed_over_is_found_by_its_port() {
        let handed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = handed.local_addr().unwrap();
        let mut sockets = Sockets {
            handed: vec![handed],
            reuse_port: false,
        };
        assert_eq!(sockets.unused(), [address.port()]);
        // Any address: the socket has its own.
        let listener = sockets
            .listen(([0, 0, 0, 0], address.port()).into())
            .unwrap();
        assert_eq!(
            (listener.address(), sockets.unused()),
            (address, Vec::new())
        );
    }
}
