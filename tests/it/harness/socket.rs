//! A dashboard, as the contract's clients are: a WebSocket library that is not ours, JSON in and out.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long anything that must happen may take before a test gives up on it. Long: it is no measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects; the HTTP status if the upgrade is refused.
    pub(crate) async fn try_connect(
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, value.parse().expect("a header value"));
        }
        // Boxed: its future is 20 kB.
        match within(Box::pin(tokio_tungstenite::connect_async(request))).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("connecting: {error}"),
        }
    }

    /// One that was upgraded elsewhere.
    pub(crate) fn over(stream: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self { stream }
    }

    /// Connects as the old clients do: the token in the query.
    pub(crate) async fn connect(url: &str, token: &str) -> Self {
        let url = format!("{url}?token={token}");
        Self::try_connect(&url, &[])
            .await
            .unwrap_or_else(|status| panic!("refused with {status}"))
    }

    pub(crate) async fn send(&mut self, value: &Value) {
        self.send_raw(Message::text(value.to_string())).await;
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        within(self.stream.send(message))
            .await
            .expect("the connection is open");
    }

    /// The same on a connection that may have ended.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        within(self.stream.send(message)).await.is_ok()
    }

    /// Subscribes and returns the first `stats` frame.
    pub(crate) async fn subscribe(&mut self, channel: &str) -> Value {
        self.send(&json!({"type": "subscribe", "data": {"channel": channel}}))
            .await;
        self.stats_of(channel).await
    }

    /// Subscribes and returns the first frame of that type.
    pub(crate) async fn subscribe_as(&mut self, channel: &str, kind: &str) -> Value {
        self.send(&json!({"type": "subscribe", "data": {"channel": channel}}))
            .await;
        self.next_of(kind).await
    }

    /// The next text frame, if one comes within that time.
    pub(crate) async fn next_within(&mut self, time: Duration) -> Option<Value> {
        tokio::time::timeout(time, self.next()).await.ok()
    }

    /// Awaits a pong with that payload.
    pub(crate) async fn expect_pong(&mut self, payload: &[u8]) {
        loop {
            match within(self.stream.next()).await {
                Some(Ok(Message::Pong(bytes))) => return assert_eq!(bytes, payload),
                Some(Ok(_)) => {}
                other => panic!("expected a pong, not {other:?}"),
            }
        }
    }

    /// The next text frame as JSON; control frames are the library's.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match within(self.stream.next()).await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).expect("every frame is JSON");
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a text frame, not {other:?}"),
            }
        }
    }

    /// Hears so many pings, and answers them as the library does: with the next thing that it does.
    pub(crate) async fn answer_pings(&mut self, count: usize) {
        let mut heard = 0;
        while heard < count {
            match within(self.stream.next()).await {
                Some(Ok(Message::Ping(_))) => heard += 1,
                Some(Ok(Message::Text(_))) => {}
                other => panic!("{heard} pings were answered, and then came {other:?}"),
            }
        }
    }

    /// The next text, JSON or not, or how the connection ended.
    pub(crate) async fn next_text(&mut self) -> String {
        loop {
            match within(self.stream.next()).await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                end => return format!("{end:?}"),
            }
        }
    }

    /// The next frame of that type.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// The next `stats` frame of a channel.
    pub(crate) async fn stats_of(&mut self, channel: &str) -> Value {
        loop {
            let frame = self.next_of("stats").await;
            if frame["channel"] == channel {
                return frame;
            }
        }
    }

    /// `stats` frames until `data` satisfies the condition; asserts that versions rise on the way.
    pub(crate) async fn stats_until(
        &mut self,
        channel: &str,
        satisfied: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut version = 0;
        loop {
            let frame = self.stats_of(channel).await;
            let next = frame["v"].as_u64().expect("a version");
            assert!(next > version, "versions rise: {version} then {next}");
            version = next;
            if satisfied(&frame["data"]) {
                return frame;
            }
        }
    }

    /// Asserts that nothing was sent but what is answered to a ping now: all that a client would have been sent before is here by then,
    /// because frames of one connection keep their order.
    pub(crate) async fn assert_quiet(&mut self) {
        self.send(&json!({"type": "ping"})).await;
        let frame = self.next().await;
        assert_eq!(frame["type"], "pong", "unexpected: {frame}");
    }

    /// The close code that ends this connection; frames before it are passed over. None: no close frame.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            match within(self.stream.next()).await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The close frame that ends this connection, code and reason; 0 if there is none.
    pub(crate) async fn ended(&mut self) -> (u16, String) {
        loop {
            match within(self.stream.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return (0, String::new()),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Ends the connection as a browser does.
    pub(crate) async fn close(mut self) {
        let _ = within(self.stream.close(None)).await;
    }
}

/// Gives up on what never happens.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

/// Awaits a condition that nothing announces.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never: {what}"
    );
}
