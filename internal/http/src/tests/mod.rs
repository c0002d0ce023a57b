//! Tests of the HTTP side from outside: real sockets, requests as text.

mod accepting;
mod addresses;
mod apps;
mod backend;
mod channels;
mod connections;
mod hooks;
mod limits;
mod origins;
mod secrets;
mod strict_requests;
mod tls;
mod upgrade_paths;
mod upgrades;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{AppMounts, Config, ServerState};
use backend::{HttpBackend, NumberHandle};
use latido_base::drain::Drain;

/// The deadline after which a hung test fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// A server on a port of its own; it stops when dropped.
struct TestServer {
    address: SocketAddr,
    state: Arc<ServerState>,
    number: NumberHandle,
    backend_drain: Drain,
}

impl TestServer {
    fn start(world: HttpBackend) -> Self {
        Self::start_with(world, AppMounts::default())
    }

    /// Starts a server with the addresses of an app.
    fn start_with(world: HttpBackend, mounts: AppMounts) -> Self {
        let listener = crate::bind(&[([127, 0, 0, 1], 0).into()]).unwrap();
        let (address, number) = (listener.address(), world.number());
        let state = Arc::new(world.state);
        state
            .drain
            .spawn(crate::serve(listener, Arc::clone(&state), mounts));
        Self {
            address,
            state,
            number,
            backend_drain: world.backend_drain,
        }
    }

    fn with(config: Config) -> Self {
        Self::start(HttpBackend::new(config))
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request with `Host` and `Connection: close` in its head, and reads to the end.
    async fn request(&self, request_line: &str, headers: &[&str], body: &str) -> TestResponse {
        let mut head = format!("{request_line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        for header in headers {
            head += &format!("{header}\r\n");
        }
        let mut socket = self.connect().await;
        socket
            .write_all(format!("{head}\r\n{body}").as_bytes())
            .await
            .unwrap();
        TestResponse::read(&mut socket).await
    }

    async fn get(&self, path: &str, headers: &[&str]) -> TestResponse {
        self.request(&format!("GET {path}"), headers, "").await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.state.drain.stop();
        self.backend_drain.stop();
    }
}

/// A response as received from the server.
#[derive(Debug)]
struct TestResponse {
    status: u16,
    /// The head, converted to lower case.
    head: String,
    body: String,
}

impl TestResponse {
    /// Reads until the server closes the connection.
    async fn read(socket: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        tokio::time::timeout(TEST_TIMEOUT, socket.read_to_end(&mut bytes))
            .await
            .expect("the server closes")
            .unwrap();
        Self::parse(&String::from_utf8(bytes).unwrap())
    }

    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a complete head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head: head.to_lowercase(),
            body: body.into(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Returns the code in an error's body.
    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// Reads until the received bytes contain `text`.
async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    let wait = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            assert_ne!(
                socket.read_buf(&mut seen).await.unwrap(),
                0,
                "closed before {text:?}: {:?}",
                String::from_utf8_lossy(&seen)
            );
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, wait)
        .await
        .unwrap_or_else(|_| panic!("{text:?} never came"));
    String::from_utf8_lossy(&seen).into_owned()
}

/// Waits for something another task does.
async fn eventually<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    tokio::time::timeout(TEST_TIMEOUT, async {
        loop {
            if let Some(found) = condition() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("completes before the timeout")
}
