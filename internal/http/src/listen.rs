//! Listening sockets: bound here, or inherited from a service manager that keeps them over a
//! restart (systemd).

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Socket, Type};

/// The kernel's queue of connections not accepted yet: room for all clients of a deployment that
/// reconnect at once.
pub(super) const BACKLOG: i32 = 4096;

/// A bound, listening socket and its address.
#[derive(Debug)]
pub struct HttpListener {
    pub(super) socket: TcpListener,
    pub(super) address: SocketAddr,
}

impl HttpListener {
    /// Returns the local address, with the real port if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds the first of the addresses that can be bound, and listens.
///
/// Several addresses are for systems that may lack IPv6: «every interface» is `[::]`, else
/// `0.0.0.0`. Needs no runtime, so that a port in use is reported before anything is started.
///
/// # Errors
/// Returns the error of the last address.
pub fn bind(addresses: &[SocketAddr]) -> io::Result<HttpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
    for address in addresses {
        match bind_one(*address, false) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Binds an address and listens. With `reuse_port`, other processes that set it too can share the
/// port, and the kernel distributes connections among them.
fn bind_one(address: SocketAddr, reuse_port: bool) -> io::Result<HttpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restarted server gets its port back although old connections still linger in the kernel.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Accepts IPv4 as well, independent of the system's default.
        socket.set_only_v6(false)?;
    }
    if reuse_port {
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    from_listening_socket(TcpListener::from(socket))
}

/// Wraps a socket that is already listening.
fn from_listening_socket(socket: TcpListener) -> io::Result<HttpListener> {
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok(HttpListener { socket, address })
}

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
            Some(index) => from_listening_socket(self.inherited.swap_remove(index)),
            None => bind_one(address, self.reuse_port),
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
    fn first_bindable_address_is_used() {
        let taken = bind(&[([127, 0, 0, 1], 0).into()]).unwrap();
        let free = bind(&[taken.address(), ([127, 0, 0, 1], 0).into()]).unwrap();
        assert_ne!(free.address().port(), taken.address().port());
        assert_eq!(
            bind(&[taken.address()]).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(bind(&[]).is_err());
    }

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
