//! The floor: the minimal code that does the necessary work. One thread accepts and answers the
//! handshake, and one loop sends the encoded bytes to every socket. It has no timers, no reads and
//! no state per client. In this kernel nothing can cost less than one write per client.

use std::collections::HashMap;
use std::io::{self, BufRead as _, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use latido_auth::{Secret, Verifier, VerifierConfig};
use latido_base::clock::Clock;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::net::{SendFlags, send};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::keys;
use crate::pacer::{self, PublishSchedule};
use crate::process::{BenchProcess, now_ns};

/// The listen backlog, equal to Latido's.
const BACKLOG: i32 = 4096;
const LISTENER: Token = Token(usize::MAX);
/// The response to a request whose key is the constant one of the load.
const UPGRADE_RESPONSE: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The task of the floor process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct FloorPlan {
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
    /// The schedules of its broadcasts.
    pub(crate) beats: Vec<PublishSchedule>,
    /// True if it verifies the token in the query as Latido does.
    pub(crate) verifies: bool,
}

/// Starts the floor on a core. It sends after it receives a line.
pub(crate) fn start(plan: &FloorPlan, core: Option<usize>) -> anyhow::Result<BenchProcess> {
    let mut process = BenchProcess::spawn_role("floor", core, plan)?;
    process.read_line()?;
    Ok(process)
}

/// The sockets of each channel.
type FloorRooms = Arc<Mutex<HashMap<usize, Vec<TcpStream>>>>;

/// Runs the floor role of this program.
pub(crate) fn run_role() -> anyhow::Result<()> {
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("reading the plan")?;
    let plan: FloorPlan = serde_json::from_str(&line).context("the plan")?;
    let rooms = FloorRooms::default();
    let listener = listen(plan.port)?;
    let (beats, senders) = (plan.beats.clone(), Arc::clone(&rooms));
    std::thread::spawn(move || {
        if io::stdin().lock().lines().next().is_some() {
            pacer::run_schedules(&beats, |channel, turn| broadcast(&senders, channel, turn));
        }
    });
    crate::output::print("ready\n")?;
    accept(listener, &plan, &rooms)
}

fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket
        .bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())
        .context("binding")?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn broadcast(rooms: &FloorRooms, channel: usize, turn: u64) -> bool {
    let payload = pacer::payload(channel, turn, now_ns());
    let length = u16::try_from(payload.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let frame = [&[0x81, 126, length[0], length[1]], payload.as_bytes()].concat();
    let rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
    for socket in rooms.get(&channel).into_iter().flatten() {
        // A full socket misses a frame.
        let _ = send(socket, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
    true
}

fn accept(mut listener: TcpListener, plan: &FloorPlan, rooms: &FloorRooms) -> anyhow::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let keys = VerifierConfig {
        secrets: vec![Secret::new(keys::SECRET)],
        ..VerifierConfig::default()
    };
    let verifier = Verifier::new(&keys, Clock::system())?;
    let mut pending: Vec<Option<TcpStream>> = Vec::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    poll.registry().register(
                        &mut socket,
                        Token(pending.len()),
                        Interest::READABLE,
                    )?;
                    pending.push(Some(socket));
                }
                continue;
            }
            let slot = &mut pending[event.token().0];
            let Some(socket) = slot.as_mut() else {
                continue;
            };
            match upgrade(socket, plan.verifies.then_some(&verifier)) {
                Ok(Some(channel)) => {
                    let Some(mut socket) = slot.take() else {
                        continue;
                    };
                    // The data that the client sends is ignored from now on.
                    poll.registry().deregister(&mut socket)?;
                    rooms
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .entry(channel)
                        .or_default()
                        .push(socket);
                }
                Ok(None) => {}
                Err(_) => *slot = None,
            }
        }
    }
}

/// Reads a request, which arrives in one piece here, and answers it. Returns the requested channel.
fn upgrade(socket: &mut TcpStream, verifier: Option<&Verifier>) -> io::Result<Option<usize>> {
    let mut head = [0; 2048];
    let length = match socket.read(&mut head) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        other => other?,
    };
    let text = std::str::from_utf8(&head[..length]).map_err(io::Error::other)?;
    let path = text
        .split(' ')
        .nth(1)
        .filter(|_| text.ends_with("\r\n\r\n"))
        .ok_or(ErrorKind::InvalidData)?;
    let (path, token) = path.split_once("?token=").unwrap_or((path, ""));
    if let Some(verifier) = verifier
        && !matches!(verifier.try_verify_cached(token), Some(Ok(_)))
    {
        return Err(ErrorKind::PermissionDenied.into());
    }
    socket.write_all(UPGRADE_RESPONSE)?;
    Ok(Some(
        path.rsplit('/')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0),
    ))
}
