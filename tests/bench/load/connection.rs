//! One client connection of the load.

use mio::net::TcpStream;

use super::frames::{ServerFrame, ServerFrames, check_101, head_end};

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionStage {
    Connecting,
    Upgrading,
    Open,
    Closed,
}

/// A socket, and the bytes that do not yet form a complete frame.
#[derive(Debug)]
pub(super) struct LoadConnection {
    /// The socket, or `None` after it was closed.
    pub(super) socket: Option<TcpStream>,
    pub(super) stage: ConnectionStage,
    /// The time at which its connect began, on the monotonic clock.
    pub(super) connect_began_ns: u64,
    pub(super) group: u16,
    pub(super) channel: u32,
    /// True if a snapshot has arrived since it opened.
    pub(super) has_snapshot: bool,
    /// The data frames received while counting.
    pub(super) frames: u64,
    pub(super) rest: Vec<u8>,
}

/// The parsed meaning of received bytes.
#[derive(Debug)]
pub(super) enum ParsedInput<'a> {
    Upgraded,
    Frame(ServerFrame<'a>),
}

impl LoadConnection {
    /// Creates a connection that is not yet open.
    pub(super) fn idle(group: u16, channel: u32) -> Self {
        let stage = ConnectionStage::Closed;
        Self {
            socket: None,
            stage,
            connect_began_ns: 0,
            group,
            channel,
            has_snapshot: false,
            frames: 0,
            rest: Vec::new(),
        }
    }

    /// Restarts the connection with a new socket.
    pub(super) fn restart(&mut self, socket: TcpStream, now_ns: u64) {
        (self.socket, self.stage, self.connect_began_ns) =
            (Some(socket), ConnectionStage::Connecting, now_ns);
        self.has_snapshot = false;
        self.rest = Vec::new();
    }
}

/// Parses the complete items in `bytes` and passes them to `on_input`. Returns the number of bytes
/// used.
///
/// # Errors
/// Returns the server's response line if it did not upgrade.
pub(super) fn parse_input(
    stage: ConnectionStage,
    bytes: &[u8],
    mut on_input: impl FnMut(ParsedInput<'_>),
) -> Result<usize, String> {
    let mut begin = 0;
    if stage == ConnectionStage::Upgrading {
        let Some(end) = head_end(bytes) else {
            return Ok(0);
        };
        check_101(&bytes[..end])?;
        on_input(ParsedInput::Upgraded);
        begin = end;
    }
    let mut frames = ServerFrames::new(&bytes[begin..]);
    for frame in frames.by_ref() {
        on_input(ParsedInput::Frame(frame));
    }
    Ok(begin + frames.used)
}
