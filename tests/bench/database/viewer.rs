//! A dashboard of the benchmark: one WebSocket that watches some businesses.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use latido::auth::{Passport, Secret, issue};
use latido::clock::Clock;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::keys;

/// How long anything may take before the benchmark gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Viewer(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Viewer {
    /// Connects as somebody who may read these businesses, watches them, and awaits a first frame of each.
    pub(crate) async fn watching(port: u16, businesses: &[usize]) -> anyhow::Result<Self> {
        let negocios = businesses.iter().map(|n| keys::key(*n)).collect();
        let passport = Passport { user: "bench".to_owned(), negocios, ..Passport::default() };
        let token = issue(&Secret::new(keys::SECRET), &passport, &Clock::system(), Duration::from_secs(86_400))?;
        // Boxed: its future is 20 kB.
        let connecting = tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{port}/ws?token={token}"));
        let (mut socket, _) = Box::pin(connecting).await.context("connecting")?;
        for business in businesses {
            socket.send(Message::text(keys::subscribe(*business))).await?;
        }
        let mut viewer = Self(socket);
        for _ in businesses {
            viewer.next().await?;
        }
        Ok(viewer)
    }

    /// The next statistics.
    pub(crate) async fn next(&mut self) -> anyhow::Result<String> {
        let frame = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) if text.contains("\"stats\"") => return Ok(text.as_str().to_owned()),
                    Some(Ok(Message::Close(frame))) => bail!("closed: {frame:?}"),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => bail!("the connection ended"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, frame).await.context("no frame in time")?
    }
}

/// The number behind a field of a frame.
pub(crate) fn field(frame: &str, name: &str) -> Option<i64> {
    let value: serde_json::Value = serde_json::from_str(frame).ok()?;
    value["data"][name].as_i64()
}
