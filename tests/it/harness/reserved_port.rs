//! Ports that stay free until the server that a test starts listens on them.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port of this machine that no other program gets.
///
/// The socket is bound and does not listen, so the kernel gives its port to nobody who asks for any
/// port, but lets a server bind it by its number with `SO_REUSEADDR`, as Latido does.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    number: u16,
    _socket: Socket,
}

impl ReservedPort {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        socket.bind(&any.into()).expect("a free port");
        let bound = socket.local_addr().expect("an address");
        Self {
            number: bound.as_socket().expect("an IP address").port(),
            _socket: socket,
        }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
