//! The options of every connection's socket.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// The size of the send buffer that the kernel may keep for one client, in bytes; the kernel
/// doubles it.
///
/// Without a limit it would grow to megabytes for a client that does not read: uncounted memory,
/// full of outdated frames. The code that creates a socket sets it.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// TCP keepalive: the idle time before the first probe, the interval, and the number of probes.
pub(super) const KEEPALIVE: (Duration, Duration, u32) =
    (Duration::from_secs(60), Duration::from_secs(15), 4);

/// Sets the options that every connection gets. On Linux accepted sockets inherit them from the
/// listening socket; elsewhere they are set on each connection.
///
/// Errors are ignored: a socket that rejects an option is served all the same, and a dead one fails
/// at its first read.
pub fn set_socket_options(socket: &SockRef<'_>, unacknowledged: Duration) {
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(probes);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(unacknowledged));
    #[cfg(not(target_os = "linux"))]
    let _ = unacknowledged;
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Verifies the inheritance that [`set_socket_options`] relies on.
    #[cfg(target_os = "linux")]
    #[test]
    fn accepted_sockets_inherit_the_listeners_options() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        set_socket_options(&SockRef::from(&listener), Duration::from_secs(7));
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = loop {
            match listener.accept() {
                Ok((socket, _)) => break socket,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        };
        let (accepted, (idle, interval, probes)) = (SockRef::from(&accepted), KEEPALIVE);
        assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), idle);
        assert_eq!(
            (
                accepted.tcp_keepalive_interval().unwrap(),
                accepted.tcp_keepalive_retries().unwrap()
            ),
            (interval, probes)
        );
        assert_eq!(
            accepted.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            accepted.send_buffer_size().unwrap(),
            2 * SEND_BUFFER_BYTES,
            "the kernel doubles what it is told"
        );
    }
}
