//! Hostile clients, each kind aimed at its own limit. They reconnect for as long as the attack
//! lasts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use latido_auth::{Secret, TokenSpec, issue};
use latido_base::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::keys;
use crate::load::masked;

/// The bytes of a MiB, the unit of memory in the report.
pub(super) const MIB: f64 = (1 << 20) as f64;
/// The API key for the hook.
pub(super) const HOOK_KEY: &str = "the benchmark's own key of the hook";
/// The receive buffer of a client that never reads, in bytes.
const UNREAD_BUFFER_BYTES: u32 = 2_048;
/// The pause before a refused or closed attacker reconnects.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// The server under attack.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttackTarget {
    /// The port on 127.0.0.1.
    pub(super) port: u16,
    /// The number of keys of the stream `grande`, from 0.
    pub(super) keys: u64,
}

/// The running attackers.
#[derive(Debug)]
pub(super) struct Attack(JoinSet<()>);

impl Attack {
    /// Stops all attackers and closes their sockets.
    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

type AttackResult = std::io::Result<()>;

/// Starts the attackers on the current runtime.
pub(super) fn start_attack(target: &AttackTarget) -> Attack {
    let mut all = JoinSet::new();
    let target = Arc::new(*target);
    for n in 0..300 {
        repeat(&mut all, &target, n, |t, n| async move {
            hold_connection(&t, 20 + n % 10, Duration::from_secs(1)).await
        });
    }
    for n in 0..120 {
        repeat(&mut all, &target, n, |t, _| async move {
            hold_connection(&t, 2, Duration::from_secs(2)).await
        });
    }
    for n in 0..40 {
        repeat(&mut all, &target, n, |t, _| async move {
            exceed_user_limit(&t).await
        });
    }
    for n in 0..60 {
        repeat(&mut all, &target, n, |t, n| async move {
            never_read(&t, n).await
        });
        repeat(&mut all, &target, n, |t, n| async move {
            slow_permission(&t, n).await
        });
    }
    for n in 0..20 {
        repeat(
            &mut all,
            &target,
            n,
            |t, n| async move { flood(&t, n).await },
        );
        repeat(&mut all, &target, n, |t, n| async move {
            invalid_subscriptions(&t, n).await
        });
        repeat(&mut all, &target, n, |t, n| async move {
            many_channels(&t, n).await
        });
    }
    for n in 0..40 {
        repeat(&mut all, &target, n, |t, n| async move {
            half_request(&t, n).await
        });
        repeat(&mut all, &target, n, |t, n| async move {
            unfinished_message(&t, n).await
        });
        repeat(&mut all, &target, n, |t, n| async move {
            unread_events(&t, n).await
        });
    }
    for n in 0..8 {
        repeat(&mut all, &target, n, |t, n| async move {
            flood_hooks(&t, n).await
        });
        repeat(&mut all, &target, n, |t, n| async move {
            flood_tokens(&t, n).await
        });
    }
    Attack(all)
}

/// Repeats the action of attacker number `n` of a kind.
fn repeat<F>(
    all: &mut JoinSet<()>,
    target: &Arc<AttackTarget>,
    n: u64,
    act: impl Fn(Arc<AttackTarget>, u64) -> F + Send + 'static,
) where
    F: Future<Output = AttackResult> + Send,
{
    let target = Arc::clone(target);
    all.spawn(async move {
        loop {
            // The attacker expects to be refused or disconnected.
            let _ = act(Arc::clone(&target), n).await;
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    });
}

/// Connects from 127.0.0.`host`, optionally with a small receive buffer.
async fn connect(
    target: &AttackTarget,
    host: u64,
    receive: Option<u32>,
) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive {
        socket.set_recv_buffer_size(bytes)?;
    }
    let host = u8::try_from(host).map_err(std::io::Error::other)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))?;
    socket
        .connect(SocketAddr::from((Ipv4Addr::LOCALHOST, target.port)))
        .await
}

/// The permissions of an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttackerRights {
    Nothing,
    Everything,
}

/// Opens an upgraded connection of a user.
pub(super) async fn open(
    target: &AttackTarget,
    host: u64,
    receive: Option<u32>,
    user: &str,
    may: AttackerRights,
) -> std::io::Result<TcpStream> {
    let mut stream = connect(target, host, receive).await?;
    let token = token(user, may).map_err(std::io::Error::other)?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if head.ends_with(b"101") {
        Ok(stream)
    } else {
        Err(std::io::Error::other("refused"))
    }
}

fn token(user: &str, may: AttackerRights) -> anyhow::Result<String> {
    let role = (may == AttackerRights::Everything).then(|| "admin_sistema".to_owned());
    let passport = TokenSpec {
        user: user.to_owned(),
        role,
        ..TokenSpec::default()
    };
    issue(
        &Secret::new(keys::SECRET),
        &passport,
        &Clock::system(),
        Duration::from_secs(3_600),
    )
    .context("signing a token")
}

/// Returns the message that subscribes to a channel.
pub(super) fn subscribe(channel: &str) -> Vec<u8> {
    masked(
        0x1,
        format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#).as_bytes(),
    )
}

/// Returns this many channels of the large stream, from an offset that depends on `n`.
fn channels(target: &AttackTarget, n: u64, count: u64) -> Vec<String> {
    (0..count)
        .map(|key| format!("grande:{}", (n * count + key) % target.keys))
        .collect()
}

/// Reads until the server closes the connection.
async fn read_until_closed(stream: &mut TcpStream) -> AttackResult {
    let mut buffer = vec![0; 16 * 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Occupies a connection silently: tests the limits of all connections, per address, and of
/// connects per second.
async fn hold_connection(target: &AttackTarget, host: u64, time: Duration) -> AttackResult {
    let mut stream = connect(target, host, None).await?;
    // Ends after the time, or earlier if the server closes the connection.
    let _ = tokio::time::timeout(time, read_until_closed(&mut stream)).await;
    Ok(())
}

/// Opens more connections than one user may have.
async fn exceed_user_limit(target: &AttackTarget) -> AttackResult {
    let mut stream = open(target, 3, None, "abuse-one", AttackerRights::Nothing).await?;
    let _ = tokio::time::timeout(Duration::from_secs(2), read_until_closed(&mut stream)).await;
    Ok(())
}

/// Requests a hundred large frames again and again, and reads none.
async fn never_read(target: &AttackTarget, n: u64) -> AttackResult {
    let channels = channels(target, n, 100);
    let mut stream = open(
        target,
        4 + n % 2,
        Some(UNREAD_BUFFER_BYTES),
        &format!("abuse-idle-{n}"),
        AttackerRights::Everything,
    )
    .await?;
    loop {
        for channel in &channels {
            stream.write_all(&subscribe(channel)).await?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Sends more messages than the limit allows.
async fn flood(target: &AttackTarget, n: u64) -> AttackResult {
    let mut stream = open(
        target,
        6,
        None,
        &format!("abuse-flood-{n}"),
        AttackerRights::Nothing,
    )
    .await?;
    let pings = masked(0x1, br#"{"type":"ping"}"#).repeat(100);
    let (mut from, mut to) = stream.split();
    let mut buffer = vec![0; 4_096];
    loop {
        tokio::select! {
            sent = to.write_all(&pings) => sent?,
            received = from.read(&mut buffer) => if received? == 0 { return Ok(()) },
        }
        tokio::task::yield_now().await;
    }
}

/// Sends as many subscriptions as the limit allows, to missing or forbidden channels.
async fn invalid_subscriptions(target: &AttackTarget, n: u64) -> AttackResult {
    let stream = open(
        target,
        7,
        None,
        &format!("abuse-invalid-{n}"),
        AttackerRights::Nothing,
    )
    .await?;
    let (mut from, mut to) = stream.into_split();
    let reading = async {
        let mut buffer = vec![0; 4_096];
        while from.read(&mut buffer).await? > 0 {}
        AttackResult::Ok(())
    };
    let sending = async {
        for turn in 0_u64.. {
            let bad = [
                "nada:1".to_owned(),
                format!("estadisticas:x{turn}"),
                unknown_channel(n, turn),
            ];
            for channel in bad {
                to.write_all(&subscribe(&channel)).await?;
            }
            tokio::time::sleep(Duration::from_millis(70)).await;
        }
        AttackResult::Ok(())
    };
    tokio::try_join!(reading, sending).map(drop)
}

/// Returns the channel of a business that does not exist.
pub(super) fn unknown_channel(n: u64, turn: u64) -> String {
    format!(
        "estadisticas:00000000-0000-4000-a000-{:012x}",
        n << 32 | turn
    )
}

/// Requests permissions that only a slow database query can decide: tests the permission queue.
async fn slow_permission(target: &AttackTarget, n: u64) -> AttackResult {
    let mut stream = open(
        target,
        8,
        None,
        &format!("abuse-slow-{n}"),
        AttackerRights::Nothing,
    )
    .await?;
    for channel in channels(target, n, 100) {
        stream.write_all(&subscribe(&channel)).await?;
    }
    let _ = tokio::time::timeout(Duration::from_secs(3), read_until_closed(&mut stream)).await;
    Ok(())
}

/// Subscribes to as many channels as the limit allows plus ten, and reads all frames.
async fn many_channels(target: &AttackTarget, n: u64) -> AttackResult {
    let channels = channels(target, n, 110);
    let mut stream = open(
        target,
        9,
        None,
        &format!("abuse-many-{n}"),
        AttackerRights::Everything,
    )
    .await?;
    for channel in channels {
        stream.write_all(&subscribe(&channel)).await?;
    }
    read_until_closed(&mut stream).await
}

/// Sends half a request and waits.
async fn half_request(target: &AttackTarget, n: u64) -> AttackResult {
    let mut stream = connect(target, 10 + n % 2, None).await?;
    stream
        .write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Half: ")
        .await?;
    read_until_closed(&mut stream).await
}

/// Sends a message of the maximum length without its last fragment, or one that announces more.
async fn unfinished_message(target: &AttackTarget, n: u64) -> AttackResult {
    let mut stream = open(
        target,
        12,
        None,
        &format!("abuse-part-{n}"),
        AttackerRights::Nothing,
    )
    .await?;
    let mut first = masked(0x1, &[b' '; 16_000]);
    if n.is_multiple_of(8) {
        first = vec![0x81, 0x80 | 127, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0];
    }
    // Clear FIN: this is not the last fragment.
    first[0] &= 0x7f;
    stream.write_all(&first).await?;
    read_until_closed(&mut stream).await
}

/// Opens an event stream and never reads it.
async fn unread_events(target: &AttackTarget, n: u64) -> AttackResult {
    let mut stream = connect(target, 13, Some(UNREAD_BUFFER_BYTES)).await?;
    let token = token(&format!("abuse-events-{n}"), AttackerRights::Everything)
        .map_err(std::io::Error::other)?;
    let request = format!(
        "GET /grande/{n}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    Ok(())
}

/// Calls hooks in batches as fast as they are answered: most for unwatched businesses, some for
/// keys that cost a read.
async fn flood_hooks(target: &AttackTarget, n: u64) -> AttackResult {
    const BUNCH: u64 = 50;
    let mut stream = connect(target, 14, None).await?;
    let mut buffer = vec![0; 16 * 1024];
    for turn in 0_u64.. {
        let watched = (
            "grande",
            format!(r#"{{"grande_id":{}}}"#, (turn * 8 + n) % target.keys),
        );
        let unwatched = (0..BUNCH).map(|k| {
            (
                "cita",
                format!(
                    r#"{{"negocio_id":"{}"}}"#,
                    keys::key(usize::try_from(100 + k).unwrap_or(0))
                ),
            )
        });
        let requests: String = std::iter::once(watched)
            .chain(unwatched)
            .map(|(path, body)| hook(path, &body))
            .collect();
        stream.write_all(requests.as_bytes()).await?;
        let mut answers = 0;
        while answers <= BUNCH {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            answers += buffer[..count]
                .windows(9)
                .filter(|window| *window == b"HTTP/1.1 ")
                .count() as u64;
        }
    }
    Ok(())
}

fn hook(path: &str, body: &str) -> String {
    format!(
        "POST /notify/{path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {HOOK_KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends new tokens on an open connection, of the maximum message size and all invalid.
async fn flood_tokens(target: &AttackTarget, n: u64) -> AttackResult {
    let mut stream = open(
        target,
        15,
        None,
        &format!("abuse-tokens-{n}"),
        AttackerRights::Nothing,
    )
    .await?;
    let message = format!(
        r#"{{"type":"auth","data":{{"token":"{}"}}}}"#,
        "x".repeat(16_000)
    );
    let mut buffer = vec![0; 4_096];
    loop {
        stream.write_all(&masked(0x1, message.as_bytes())).await?;
        if stream.read(&mut buffer).await? == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
