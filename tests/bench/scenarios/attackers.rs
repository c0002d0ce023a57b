//! Who mean no good, each kind aimed at a limit of its own. They come back for as long as it lasts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use latido::auth::{Passport, Secret, issue};
use latido::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::keys;
use crate::load::masked;

/// Bytes of a MiB, in which memory is reported.
pub(super) const MIB: f64 = (1 << 20) as f64;
/// What the hook is called with.
pub(super) const HOOK_KEY: &str = "the benchmark's own key of the hook";
/// What a client that never reads lets the kernel keep for it, in bytes.
const DEAF: u32 = 2_048;
/// Before an attacker that was refused or ended comes back.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is attacked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// On 127.0.0.1.
    pub(super) port: u16,
    /// Keys of the stream `grande`, from 0.
    pub(super) keys: u64,
}

/// Attackers at work.
#[derive(Debug)]
pub(super) struct Attack(JoinSet<()>);

impl Attack {
    /// Ends all of them; their sockets close.
    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

type Outcome = std::io::Result<()>;

/// Starts them on the current runtime.
pub(super) fn attack(target: &Target) -> Attack {
    let mut all = JoinSet::new();
    let target = Arc::new(*target);
    for n in 0..300 {
        again(&mut all, &target, n, |t, n| async move {
            hold(&t, 20 + n % 10, Duration::from_secs(1)).await
        });
    }
    for n in 0..120 {
        again(&mut all, &target, n, |t, _| async move {
            hold(&t, 2, Duration::from_secs(2)).await
        });
    }
    for n in 0..40 {
        again(
            &mut all,
            &target,
            n,
            |t, _| async move { one_user(&t).await },
        );
    }
    for n in 0..60 {
        again(
            &mut all,
            &target,
            n,
            |t, n| async move { deaf(&t, n).await },
        );
        again(&mut all, &target, n, |t, n| async move {
            slow_permission(&t, n).await
        });
    }
    for n in 0..20 {
        again(
            &mut all,
            &target,
            n,
            |t, n| async move { flood(&t, n).await },
        );
        again(
            &mut all,
            &target,
            n,
            |t, n| async move { bogus(&t, n).await },
        );
        again(&mut all, &target, n, |t, n| async move {
            many_channels(&t, n).await
        });
    }
    for n in 0..40 {
        again(
            &mut all,
            &target,
            n,
            |t, n| async move { half(&t, n).await },
        );
        again(&mut all, &target, n, |t, n| async move {
            unfinished(&t, n).await
        });
        again(
            &mut all,
            &target,
            n,
            |t, n| async move { events(&t, n).await },
        );
    }
    for n in 0..8 {
        again(
            &mut all,
            &target,
            n,
            |t, n| async move { hooks(&t, n).await },
        );
        again(
            &mut all,
            &target,
            n,
            |t, n| async move { tokens(&t, n).await },
        );
    }
    Attack(all)
}

/// Number `n` of a kind, again and again.
fn again<F>(
    all: &mut JoinSet<()>,
    target: &Arc<Target>,
    n: u64,
    act: impl Fn(Arc<Target>, u64) -> F + Send + 'static,
) where
    F: Future<Output = Outcome> + Send,
{
    let target = Arc::clone(target);
    all.spawn(async move {
        loop {
            // To be refused or cut is what it is here for.
            let _ = act(Arc::clone(&target), n).await;
            tokio::time::sleep(PAUSE).await;
        }
    });
}

/// Connects from 127.0.0.`host`, perhaps with a small receive buffer.
async fn dial(target: &Target, host: u64, receive: Option<u32>) -> std::io::Result<TcpStream> {
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

/// What an attacker may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    Nothing,
    Everything,
}

/// An upgraded connection of a user.
pub(super) async fn open(
    target: &Target,
    host: u64,
    receive: Option<u32>,
    user: &str,
    may: May,
) -> std::io::Result<TcpStream> {
    let mut stream = dial(target, host, receive).await?;
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

fn token(user: &str, may: May) -> anyhow::Result<String> {
    let role = (may == May::Everything).then(|| "admin_sistema".to_owned());
    let passport = Passport {
        user: user.to_owned(),
        role,
        ..Passport::default()
    };
    issue(
        &Secret::new(keys::SECRET),
        &passport,
        &Clock::system(),
        Duration::from_secs(3_600),
    )
    .context("signing a token")
}

/// The message that subscribes to a channel.
pub(super) fn subscribe(channel: &str) -> Vec<u8> {
    masked(
        0x1,
        format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#).as_bytes(),
    )
}

/// So many channels of the large stream, from a place of `n`'s own.
fn channels(target: &Target, n: u64, count: u64) -> Vec<String> {
    (0..count)
        .map(|key| format!("grande:{}", (n * count + key) % target.keys))
        .collect()
}

/// Reads until the server ends it.
async fn listen(stream: &mut TcpStream) -> Outcome {
    let mut buffer = vec![0; 16 * 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Takes a place and says nothing: the limits of all connections, of an address, of connects a second.
async fn hold(target: &Target, host: u64, time: Duration) -> Outcome {
    let mut stream = dial(target, host, None).await?;
    // In time, or ended by the server before.
    let _ = tokio::time::timeout(time, listen(&mut stream)).await;
    Ok(())
}

/// More places than one user may have.
async fn one_user(target: &Target) -> Outcome {
    let mut stream = open(target, 3, None, "siege-one", May::Nothing).await?;
    let _ = tokio::time::timeout(Duration::from_secs(2), listen(&mut stream)).await;
    Ok(())
}

/// Asks for a hundred large frames, again and again, and reads none.
async fn deaf(target: &Target, n: u64) -> Outcome {
    let channels = channels(target, n, 100);
    let mut stream = open(
        target,
        4 + n % 2,
        Some(DEAF),
        &format!("siege-deaf-{n}"),
        May::Everything,
    )
    .await?;
    loop {
        for channel in &channels {
            stream.write_all(&subscribe(channel)).await?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// More messages than it may send.
async fn flood(target: &Target, n: u64) -> Outcome {
    let mut stream = open(target, 6, None, &format!("siege-flood-{n}"), May::Nothing).await?;
    let pings = masked(0x1, br#"{"type":"ping"}"#).repeat(100);
    let (mut from, mut to) = stream.split();
    let mut buffer = vec![0; 4_096];
    loop {
        tokio::select! {
            said = to.write_all(&pings) => said?,
            heard = from.read(&mut buffer) => if heard? == 0 { return Ok(()) },
        }
        tokio::task::yield_now().await;
    }
}

/// As many subscriptions as it may send, to what is not there or is another's.
async fn bogus(target: &Target, n: u64) -> Outcome {
    let stream = open(target, 7, None, &format!("siege-bogus-{n}"), May::Nothing).await?;
    let (mut from, mut to) = stream.into_split();
    let reading = async {
        let mut buffer = vec![0; 4_096];
        while from.read(&mut buffer).await? > 0 {}
        Outcome::Ok(())
    };
    let asking = async {
        for turn in 0_u64.. {
            let bad = [
                "nada:1".to_owned(),
                format!("estadisticas:x{turn}"),
                stranger(n, turn),
            ];
            for channel in bad {
                to.write_all(&subscribe(&channel)).await?;
            }
            tokio::time::sleep(Duration::from_millis(70)).await;
        }
        Outcome::Ok(())
    };
    tokio::try_join!(reading, asking).map(drop)
}

/// The channel of a business that nobody has.
pub(super) fn stranger(n: u64, turn: u64) -> String {
    format!(
        "estadisticas:00000000-0000-4000-a000-{:012x}",
        n << 32 | turn
    )
}

/// Permissions that only the database knows, and takes its time over: the queue of questions.
async fn slow_permission(target: &Target, n: u64) -> Outcome {
    let mut stream = open(target, 8, None, &format!("siege-slow-{n}"), May::Nothing).await?;
    for channel in channels(target, n, 100) {
        stream.write_all(&subscribe(&channel)).await?;
    }
    let _ = tokio::time::timeout(Duration::from_secs(3), listen(&mut stream)).await;
    Ok(())
}

/// As many channels as it may have and ten more, and reads them all.
async fn many_channels(target: &Target, n: u64) -> Outcome {
    let channels = channels(target, n, 110);
    let mut stream = open(target, 9, None, &format!("siege-many-{n}"), May::Everything).await?;
    for channel in channels {
        stream.write_all(&subscribe(&channel)).await?;
    }
    listen(&mut stream).await
}

/// Half a request.
async fn half(target: &Target, n: u64) -> Outcome {
    let mut stream = dial(target, 10 + n % 2, None).await?;
    stream
        .write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Half: ")
        .await?;
    listen(&mut stream).await
}

/// A message as long as it may be, but for its last fragment; or one that announces more than it may be.
async fn unfinished(target: &Target, n: u64) -> Outcome {
    let mut stream = open(target, 12, None, &format!("siege-part-{n}"), May::Nothing).await?;
    let mut first = masked(0x1, &[b' '; 16_000]);
    if n.is_multiple_of(8) {
        first = vec![0x81, 0x80 | 127, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0];
    }
    // Not the last fragment.
    first[0] &= 0x7f;
    stream.write_all(&first).await?;
    listen(&mut stream).await
}

/// A stream of events that nobody reads.
async fn events(target: &Target, n: u64) -> Outcome {
    let mut stream = dial(target, 13, Some(DEAF)).await?;
    let token =
        token(&format!("siege-events-{n}"), May::Everything).map_err(std::io::Error::other)?;
    let request = format!(
        "GET /grande/{n}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    Ok(())
}

/// Hooks in bunches, as fast as they are answered: most of businesses that nobody watches, some of what costs a read.
async fn hooks(target: &Target, n: u64) -> Outcome {
    const BUNCH: u64 = 50;
    let mut stream = dial(target, 14, None).await?;
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

/// New tokens for an open connection, as large as a message may be, none of them any good.
async fn tokens(target: &Target, n: u64) -> Outcome {
    let mut stream = open(target, 15, None, &format!("siege-tokens-{n}"), May::Nothing).await?;
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
