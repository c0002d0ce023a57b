//! One client.

use mio::net::TcpStream;

use super::frames::{Frame, Frames, check_101, head_end};

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Upgrading,
    Open,
    Closed,
}

/// A socket, and what is not yet a whole frame.
#[derive(Debug)]
pub(super) struct Connection {
    /// None once closed.
    pub(super) socket: Option<TcpStream>,
    pub(super) stage: Stage,
    /// When its connect began, by the monotonic clock.
    pub(super) born_ns: u64,
    pub(super) group: u16,
    pub(super) channel: u32,
    /// Whether a snapshot came since it opened.
    pub(super) has_snapshot: bool,
    /// Data frames while counting.
    pub(super) frames: u64,
    pub(super) rest: Vec<u8>,
}

/// What bytes turned out to be.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    Upgraded,
    Frame(Frame<'a>),
}

impl Connection {
    /// Not connected yet.
    pub(super) fn idle(group: u16, channel: u32) -> Self {
        let stage = Stage::Closed;
        Self {
            socket: None,
            stage,
            born_ns: 0,
            group,
            channel,
            has_snapshot: false,
            frames: 0,
            rest: Vec::new(),
        }
    }

    /// Begins a new life.
    pub(super) fn reborn(&mut self, socket: TcpStream, now_ns: u64) {
        (self.socket, self.stage, self.born_ns) = (Some(socket), Stage::Connecting, now_ns);
        self.has_snapshot = false;
        self.rest = Vec::new();
    }
}

/// Reads what is whole in `bytes` and tells `hear`; returns how many bytes were used.
///
/// # Errors
/// What the server said instead of upgrading.
pub(super) fn digest(
    stage: Stage,
    bytes: &[u8],
    mut hear: impl FnMut(Heard<'_>),
) -> Result<usize, String> {
    let mut begin = 0;
    if stage == Stage::Upgrading {
        let Some(end) = head_end(bytes) else {
            return Ok(0);
        };
        check_101(&bytes[..end])?;
        hear(Heard::Upgraded);
        begin = end;
    }
    let mut frames = Frames::new(&bytes[begin..]);
    for frame in frames.by_ref() {
        hear(Heard::Frame(frame));
    }
    Ok(begin + frames.used)
}
