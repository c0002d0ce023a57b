//! One connection of `latido watch`, from connecting to its end.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Url;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::watch::output::{OutputClosed, print_line, print_notice};
use crate::watch::reconnect::{WatchDisconnect, on_close_frame, on_http_status, printable};
use crate::watch::render::{RowRenderer, ServerMessage, parse_frame};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval between two pings to the server.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// The time without any frame, pongs included, after which the connection counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(50);
/// The maximum size of a frame from the server, in bytes.
const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// A watch client: the channel to watch and the output format.
pub(super) struct WatchClient {
    pub(super) url: Url,
    pub(super) token: String,
    pub(super) channel: String,
    pub(super) as_json: bool,
    pub(super) renderer: RowRenderer,
    /// Whether the server has confirmed the subscription on this connection.
    pub(super) is_subscribed: bool,
}

type ClientSocketStream = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl WatchClient {
    /// Connects, subscribes and prints until the connection ends. Resets `attempt` to zero once the
    /// server has confirmed the subscription.
    pub(super) async fn connect_and_follow(
        &mut self,
        attempt: &mut u32,
    ) -> Result<WatchDisconnect, OutputClosed> {
        let mut socket = match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(disconnect)) => return Ok(disconnect),
            Err(_) => return Ok(WatchDisconnect::retry("no answer from the server")),
        };
        print_notice(&format!(
            "connected to {}",
            self.url.host_str().unwrap_or_default()
        ));
        let subscribe = json!({"type": "subscribe", "data": {"channel": self.channel}}).to_string();
        if socket.send(Message::text(subscribe)).await.is_err() {
            return Ok(on_close_frame(None, ""));
        }
        self.is_subscribed = false;
        self.follow(&mut socket, attempt).await
    }

    async fn connect(&self) -> Result<ClientSocketStream, WatchDisconnect> {
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(MAX_FRAME_BYTES);
        config.max_frame_size = Some(MAX_FRAME_BYTES);
        let request = self.request()?;
        match connect_async_with_config(request, Some(config), true).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => {
                let retry_after = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok());
                Err(on_http_status(response.status(), retry_after))
            }
            Err(Error::Io(error)) => Err(WatchDisconnect::retry(format!("no connection: {error}"))),
            Err(Error::Tls(error)) => Err(WatchDisconnect::retry(format!(
                "no secure connection: {error}"
            ))),
            Err(Error::Url(_) | Error::HttpFormat(_)) => {
                Err(WatchDisconnect::Permanent("--url is wrong".to_owned()))
            }
            // For example a server that stops during the handshake. The error text contains no part
            // of the request.
            Err(error) => Err(WatchDisconnect::retry(format!(
                "no WebSocket: {}",
                printable(&error.to_string())
            ))),
        }
    }

    /// Builds the upgrade request. The token is sent as a subprotocol, because URLs appear in logs.
    fn request(&self) -> Result<Request, WatchDisconnect> {
        let mut request = self
            .url
            .as_str()
            .into_client_request()
            .map_err(|_| WatchDisconnect::Permanent("--url is wrong".to_owned()))?;
        let protocols = format!("bearer, {}", self.token).parse();
        let protocols = protocols.map_err(|_| {
            WatchDisconnect::Permanent("the token contains invalid characters".to_owned())
        })?;
        request
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocols);
        Ok(request)
    }

    async fn follow(
        &mut self,
        socket: &mut ClientSocketStream,
        attempt: &mut u32,
    ) -> Result<WatchDisconnect, OutputClosed> {
        let mut last_frame = Instant::now();
        let mut ping = tokio::time::interval_at(last_frame + PING_INTERVAL, PING_INTERVAL);
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                _ = ping.tick() => {
                    if last_frame.elapsed() > DEAD_AFTER || socket.send(Message::Ping(Vec::new().into())).await.is_err() {
                        return Ok(WatchDisconnect::retry("the server does not respond"));
                    }
                    continue;
                }
            };
            last_frame = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => {
                    if let Some(disconnect) = self.print_frame(&text)? {
                        return Ok(disconnect);
                    }
                    if self.is_subscribed {
                        *attempt = 0;
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    return Ok(frame.map_or_else(
                        || on_close_frame(None, ""),
                        |frame| on_close_frame(Some(frame.code.into()), &frame.reason),
                    ));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(on_close_frame(None, "")),
            }
        }
    }

    /// Prints a frame. Returns the reason to disconnect if it is a fatal error.
    fn print_frame(&mut self, text: &str) -> Result<Option<WatchDisconnect>, OutputClosed> {
        if self.as_json {
            print_line(text)?;
        }
        match parse_frame(text) {
            ServerMessage::Row(columns) if !self.as_json => {
                if let Some(line) = self.renderer.render_row(columns) {
                    print_line(&line)?;
                }
            }
            ServerMessage::Stale(Some(since)) => {
                print_notice(&format!(
                    "stale: the server can't read its database since {}; the numbers may be old",
                    self.renderer.format_time(since)
                ));
            }
            ServerMessage::Stale(None) => print_notice("fresh again"),
            ServerMessage::TokenExpiring(at) => print_notice(&format!(
                "the token ends at {}",
                self.renderer.format_time(at)
            )),
            ServerMessage::Error { code, message } => {
                return Ok(self.on_error_response(&code, &message));
            }
            ServerMessage::Subscribed => self.is_subscribed = true,
            ServerMessage::Row(_) | ServerMessage::Other => {}
        }
        Ok(None)
    }

    /// Handles an error response. Some are permanent; others allow a reconnect; the rest are
    /// printed.
    fn on_error_response(&self, code: &str, message: &str) -> Option<WatchDisconnect> {
        let reason = format!("{}: {code}: {message}", printable(&self.channel));
        match code {
            "forbidden" | "unknown_channel" | "invalid_key" | "bad_message" => {
                Some(WatchDisconnect::Permanent(reason))
            }
            // A subscription stays; its numbers come when they can be read again.
            "unavailable" if !self.is_subscribed => Some(WatchDisconnect::retry(reason)),
            _ => {
                print_notice(&reason);
                None
            }
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
