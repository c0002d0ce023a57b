//! The memory of a client that only listens.

use crate::session::Session;
use crate::shard_connection::ShardConnection;
use crate::socket::Socket;

/// An idle client with a WebSocket takes these, its request's text, and what its app keeps.
#[test]
fn idle_session_fits_its_size_limit() {
    for (what, bytes, limit) in [
        ("a WebSocket", size_of::<ShardConnection>(), 64),
        ("a session", size_of::<Session>(), 200),
        ("a socket", size_of::<Socket>(), 112),
    ] {
        assert!(bytes <= limit, "{what}: {bytes}");
    }
}
