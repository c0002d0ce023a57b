//! A proxy between client and server that behaves like a transaction pooler.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_postgres::config::Host;

/// The ways in which the proxy differs from a server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PoolerBehaviour {
    /// Refuses start-up options, as pgbouncer does.
    pub(crate) refuse_options: bool,
    /// Accepts and ignores options, as pgbouncer does if configured so.
    pub(crate) drop_options: bool,
    /// Never forwards a notification.
    pub(crate) drop_notifications: bool,
    /// Forgets named statements before the next message.
    pub(crate) lose_statements: bool,
    /// Translates the texts of errors, as a server with another `lc_messages` does.
    pub(crate) translate_errors: bool,
}

pub(crate) struct PoolerProxy {
    pub(crate) url: String,
}

impl PoolerProxy {
    /// Starts a proxy in front of the server at `upstream`, for the same user and database.
    pub(crate) async fn start(upstream: &str, behaviour: PoolerBehaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server: tokio_postgres::Config = upstream.parse().unwrap();
        let (user, database) = (server.get_user().unwrap(), server.get_dbname().unwrap());
        let password = server
            .get_password()
            .map(|password| format!(":{}", str::from_utf8(password).unwrap()));
        let url = format!(
            "postgresql://{user}{}@127.0.0.1:{port}/{database}",
            password.unwrap_or_default()
        );
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { relay(socket, &server, behaviour).await });
            }
        });
        Self { url }
    }
}

async fn relay(
    client: TcpStream,
    server: &tokio_postgres::Config,
    behaviour: PoolerBehaviour,
) -> std::io::Result<()> {
    let port = server.get_ports().first().copied().unwrap_or(5432);
    match &server.get_hosts()[0] {
        Host::Unix(folder) => {
            relay_messages(
                client,
                UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?,
                behaviour,
            )
            .await
        }
        Host::Tcp(host) => {
            relay_messages(
                client,
                TcpStream::connect((host.as_str(), port)).await?,
                behaviour,
            )
            .await
        }
    }
}

async fn relay_messages(
    mut client: TcpStream,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
    behaviour: PoolerBehaviour,
) -> std::io::Result<()> {
    let startup = loop {
        let packet = read_untyped_packet(&mut client).await?;
        match i32::from_be_bytes(packet[4..8].try_into().unwrap()) {
            80_877_103 => client.write_all(b"N").await?,
            _ => break packet,
        }
    };
    let has_options = startup.windows(9).any(|w| w == b"\0options\0");
    if behaviour.refuse_options && has_options {
        let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
        client.write_all(&message(b'E', fields)).await?;
        return Ok(());
    }
    server
        .write_all(&if behaviour.drop_options {
            without_options(&startup)
        } else {
            startup
        })
        .await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = forward_messages(&mut from_client, &mut to_server, move |kind, body| {
        // A Bind or Describe of a statement that was prepared on another server connection.
        if behaviour.lose_statements && kind == b'B' && !body.starts_with(b"\0\0") {
            let at = body.iter().position(|b| *b == 0)? + 1;
            let mut other = body[..at].to_vec();
            other.extend_from_slice(b"gone");
            other.extend_from_slice(&body[at..]);
            return Some(other);
        }
        Some(body.to_vec())
    });
    let down = forward_messages(&mut from_server, &mut to_client, move |kind, body| {
        if behaviour.translate_errors && kind == b'E' {
            return Some(translated(body));
        }
        (!(behaviour.drop_notifications && kind == b'A')).then(|| body.to_vec())
    });
    tokio::select! { _ = up => {}, _ = down => {} }
    Ok(())
}

async fn forward_messages<R, W>(
    from: &mut R,
    to: &mut W,
    change: impl Fn(u8, &[u8]) -> Option<Vec<u8>>,
) -> std::io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let kind = from.read_u8().await?;
        let packet = read_untyped_packet(from).await?;
        if let Some(body) = change(kind, &packet[4..]) {
            to.write_all(&message(kind, &body)).await?;
        }
    }
}

/// Replaces the fields of an error that a server translates: the severity and the message.
fn translated(body: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    for field in body.split(|byte| *byte == 0).filter(|f| !f.is_empty()) {
        match field[0] {
            b'S' => fields.extend_from_slice(b"SFALLO"),
            b'M' => fields.extend_from_slice("Mun texto en otra lengua: atención".as_bytes()),
            _ => fields.extend_from_slice(field),
        }
        fields.push(0);
    }
    fields.push(0);
    fields
}

/// Reads a packet without a type byte: a length and its content.
async fn read_untyped_packet<R: AsyncRead + Unpin>(from: &mut R) -> std::io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut packet = length.to_be_bytes().to_vec();
    packet.resize(length as usize, 0);
    from.read_exact(&mut packet[4..]).await?;
    Ok(packet)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// Renames «options» in the start-up packet, so that the server takes it for a custom setting.
fn without_options(startup: &[u8]) -> Vec<u8> {
    let Some(at) = startup.windows(9).position(|w| w == b"\0options\0") else {
        return startup.to_vec();
    };
    let value = at + 9;
    let end = value + startup[value..].iter().position(|b| *b == 0).unwrap();
    let body = [&startup[4..=at], &startup[end + 1..]].concat();
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes()[..], &body].concat()
}
