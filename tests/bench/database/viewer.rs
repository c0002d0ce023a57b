//! A dashboard of the benchmark: one WebSocket that watches some channels.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use latido_auth::{Secret, TokenSpec, issue};
use latido_base::clock::Clock;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

use crate::keys;

/// The longest time to wait for an event before the benchmark fails.
const VIEWER_TIMEOUT: Duration = Duration::from_secs(30);

/// One WebSocket connection of a dashboard.
pub(crate) struct BenchViewer(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl BenchViewer {
    /// Connects as a user who may read these businesses, subscribes, and waits for a first frame of
    /// each.
    pub(crate) async fn connect(port: u16, businesses: &[usize]) -> anyhow::Result<Self> {
        Self::connect_with(port, None, businesses).await
    }

    /// Connects the same way, optionally with TLS to a server named `localhost`.
    pub(crate) async fn connect_with(
        port: u16,
        tls: Option<Arc<ClientConfig>>,
        businesses: &[usize],
    ) -> anyhow::Result<Self> {
        let negocios = businesses.iter().map(|n| keys::key(*n)).collect();
        let token = sign(&TokenSpec {
            negocios,
            ..TokenSpec::default()
        })?;
        let channels: Vec<_> = businesses.iter().map(|n| keys::channel(*n)).collect();
        Self::open(port, tls, &token, &channels).await
    }

    /// Connects as an administrator, subscribes to these channels, and waits for a first frame of
    /// each.
    pub(crate) async fn connect_to(port: u16, channels: &[String]) -> anyhow::Result<Self> {
        let token = sign(&TokenSpec {
            role: Some("admin_sistema".to_owned()),
            ..TokenSpec::default()
        })?;
        Self::open(port, None, &token, channels).await
    }

    async fn open(
        port: u16,
        tls: Option<Arc<ClientConfig>>,
        token: &str,
        channels: &[String],
    ) -> anyhow::Result<Self> {
        // Boxed because this future takes 20 kB.
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let request =
            format!("{scheme}://localhost:{port}/ws?token={token}").into_client_request()?;
        let connector = tls.map_or(Connector::Plain, Connector::Rustls);
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .context("connecting")?;
        let upgrading =
            tokio_tungstenite::client_async_tls_with_config(request, stream, None, Some(connector));
        let (mut socket, _) = Box::pin(upgrading).await.context("upgrading")?;
        for channel in channels {
            let message = serde_json::json!({"type": "subscribe", "channel": channel});
            socket.send(Message::text(message.to_string())).await?;
        }
        let mut viewer = Self(socket);
        for _ in channels {
            viewer.next().await?;
        }
        Ok(viewer)
    }

    /// Returns the next frame with numbers.
    pub(crate) async fn next(&mut self) -> anyhow::Result<String> {
        let frame = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) if text.contains("\"v\":") => {
                        return Ok(text.as_str().to_owned());
                    }
                    Some(Ok(Message::Close(frame))) => bail!("closed: {frame:?}"),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => bail!("the connection ended"),
                }
            }
        };
        tokio::time::timeout(VIEWER_TIMEOUT, frame)
            .await
            .context("no frame in time")?
    }
}

/// Signs the token of a viewer with these rights.
fn sign(rights: &TokenSpec) -> anyhow::Result<String> {
    let passport = TokenSpec {
        user: "bench".to_owned(),
        ..rights.clone()
    };
    let lifetime = Duration::from_secs(86_400);
    let secret = Secret::new(keys::SECRET);
    Ok(issue(&secret, &passport, &Clock::system(), lifetime)?)
}

/// Returns the number in a field of a frame.
pub(crate) fn field(frame: &str, name: &str) -> Option<i64> {
    let value: serde_json::Value = serde_json::from_str(frame).ok()?;
    value["data"][name].as_i64()
}
