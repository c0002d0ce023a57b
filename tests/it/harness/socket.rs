//! A dashboard client that uses an independent WebSocket library, with JSON in both directions.

use std::io::Write as _;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// The longest time to wait for an expected event before a test fails. It is generous because it
/// measures nothing.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// One WebSocket connection of a test client.
pub(crate) struct TestSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl TestSocket {
    /// Connects, or returns the HTTP status if the server refuses the upgrade.
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
        // Boxed because this future takes 20 kB.
        match within(Box::pin(tokio_tungstenite::connect_async(request))).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("connecting: {error}"),
        }
    }

    /// Wraps a connection that was upgraded elsewhere.
    pub(crate) fn from_stream(stream: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self { stream }
    }

    /// Connects as old clients do, with the token in the query.
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

    /// Sends on a connection that may have ended. Returns whether it worked.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        within(self.stream.send(message)).await.is_ok()
    }

    /// Subscribes and returns the first `stats` frame.
    pub(crate) async fn subscribe(&mut self, channel: &str) -> Value {
        self.send(&json!({"type": "subscribe", "data": {"channel": channel}}))
            .await;
        self.next_stats(channel).await
    }

    /// Subscribes and returns the first frame of that type.
    pub(crate) async fn subscribe_as(&mut self, channel: &str, kind: &str) -> Value {
        self.send(&json!({"type": "subscribe", "data": {"channel": channel}}))
            .await;
        self.next_of_type(kind).await
    }

    /// Waits for a pong with that payload.
    pub(crate) async fn expect_pong(&mut self, payload: &[u8]) {
        loop {
            match within(self.stream.next()).await {
                Some(Ok(Message::Pong(bytes))) => return assert_eq!(bytes, payload),
                Some(Ok(_)) => {}
                other => panic!("expected a pong, not {other:?}"),
            }
        }
    }

    /// Returns the next message that is no ping and no pong; the library handles those. They do not
    /// extend the time to wait, or a test whose frame never comes would wait for ever.
    async fn next_content(&mut self) -> Option<Result<Message, Error>> {
        let reading = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    content => return content,
                }
            }
        };
        within(reading).await
    }

    /// Returns the next frame that is not `status`: on a busy machine the database may answer so late
    /// that the server reports it.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let frame = self.next_frame().await;
            if frame["type"] != "status" {
                return frame;
            }
        }
    }

    /// Returns the next text frame as JSON.
    pub(crate) async fn next_frame(&mut self) -> Value {
        match self.next_content().await {
            Some(Ok(Message::Text(text))) => {
                serde_json::from_str(&text).expect("every frame is JSON")
            }
            other => panic!("expected a text frame, not {other:?}"),
        }
    }

    /// Receives the given number of pings. The library answers each with its next operation.
    pub(crate) async fn answer_pings(&mut self, count: usize) {
        let mut received = 0;
        while received < count {
            match within(self.stream.next()).await {
                Some(Ok(Message::Ping(_))) => received += 1,
                Some(Ok(Message::Text(_))) => {}
                other => panic!("{received} pings were answered, and then came {other:?}"),
            }
        }
    }

    /// Returns the next text, JSON or not, or a description of how the connection ended.
    pub(crate) async fn next_text(&mut self) -> String {
        match self.next_content().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            end => format!("{end:?}"),
        }
    }

    /// Returns the next frame of that type.
    pub(crate) async fn next_of_type(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next_frame().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Returns the next `stats` frame of a channel.
    pub(crate) async fn next_stats(&mut self, channel: &str) -> Value {
        loop {
            let frame = self.next_of_type("stats").await;
            if frame["channel"] == channel {
                return frame;
            }
        }
    }

    /// Reads `stats` frames until `data` satisfies the condition. Asserts that versions rise on the
    /// way.
    pub(crate) async fn stats_until(
        &mut self,
        channel: &str,
        satisfied: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut version = 0;
        loop {
            let frame = self.next_stats(channel).await;
            let next = frame["v"].as_u64().expect("a version");
            assert!(next > version, "versions rise: {version} then {next}");
            version = next;
            if satisfied(&frame["data"]) {
                return frame;
            }
        }
    }

    /// Asserts that the server has sent nothing new. It sends a ping: frames of one connection keep
    /// their order, so everything sent before the pong would arrive first.
    pub(crate) async fn assert_quiet(&mut self) {
        self.send(&json!({"type": "ping"})).await;
        let frame = self.next().await;
        assert_eq!(frame["type"], "pong", "unexpected: {frame}");
    }

    /// Returns the close code that ends this connection, skipping frames before it. Returns `None`
    /// if there is no close frame.
    pub(crate) async fn wait_for_close_code(&mut self) -> Option<u16> {
        loop {
            match self.next_content().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Returns the code and the reason of the close frame. The code is 0 if there is no close
    /// frame.
    pub(crate) async fn wait_for_close(&mut self) -> (u16, String) {
        loop {
            match self.next_content().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return (0, String::new()),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Closes the connection as a browser does.
    pub(crate) async fn close(mut self) {
        let _ = within(self.stream.close(None)).await;
    }
}

/// Waits for a future and panics after [`TEST_TIMEOUT`].
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_TIMEOUT, future)
        .await
        .expect("completes before the timeout")
}

/// Reports a skipped test past the runner's output capture, so that it is never silent.
pub(crate) fn report_not_tested(what: &str) {
    let _ = writeln!(std::io::stderr(), "NOT TESTED: {what}");
}

/// Polls a condition until it holds, every 10 ms.
pub(crate) async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(TEST_TIMEOUT, waiting).await.is_ok(),
        "never: {what}"
    );
}
