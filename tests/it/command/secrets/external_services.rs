//! The external services that a server asks about tokens: the issuer, its key set, and the API that
//! knows the user of a token. Their failures repeat the request text.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The current behaviour of the external services.
#[derive(Debug, Clone, Copy)]
pub(super) enum ServiceBehaviour {
    Valid,
    /// Reports every token as revoked.
    Revoked,
    /// Responds with 500 and repeats the request as an explanation.
    Failing,
    /// Responds with 200 and repeats the request as the body.
    Repeating,
}

pub(super) struct ExternalServices {
    port: u16,
    behaviour: Arc<Mutex<ServiceBehaviour>>,
    token_requests: Arc<AtomicUsize>,
}

impl ExternalServices {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (behaviour, token_requests) = (
            Arc::new(Mutex::new(ServiceBehaviour::Valid)),
            Arc::new(AtomicUsize::new(0)),
        );
        let services = Self {
            port,
            behaviour: Arc::clone(&behaviour),
            token_requests: Arc::clone(&token_requests),
        };
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (behaviour, token_requests) =
                    (Arc::clone(&behaviour), Arc::clone(&token_requests));
                tokio::spawn(async move { respond(socket, &behaviour, &token_requests).await });
            }
        });
        services
    }

    pub(super) fn root(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns an address that contains a secret.
    pub(super) fn url(&self, path: &str, key: &str) -> String {
        format!("{}/{path}?key={key}", self.root())
    }

    pub(super) fn set_behaviour(&self, behaviour: ServiceBehaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Returns the number of token requests so far.
    pub(super) fn token_requests(&self) -> usize {
        self.token_requests.load(Ordering::SeqCst)
    }
}

async fn respond(
    mut socket: TcpStream,
    behaviour: &Mutex<ServiceBehaviour>,
    token_requests: &AtomicUsize,
) {
    let mut request = Vec::new();
    // A GET ends after its head, a POST after its JSON body.
    while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"}") {
        if socket
            .read_buf(&mut request)
            .await
            .is_ok_and(|count| count == 0)
        {
            return;
        }
        if request.starts_with(b"POST") && request.ends_with(b"\r\n\r\n") {
            request.push(b' ');
        }
    }
    let request = String::from_utf8(request).unwrap();
    let behaviour = *behaviour.lock().unwrap();
    let is_introspection = request.starts_with("POST /introspect");
    token_requests.fetch_add(usize::from(is_introspection), Ordering::SeqCst);
    let (status, body) = match behaviour {
        ServiceBehaviour::Failing => (500, request.as_str()),
        ServiceBehaviour::Repeating => (200, request.as_str()),
        _ if request.starts_with("GET /keys") => (200, r#"{"keys":[]}"#),
        ServiceBehaviour::Valid if is_introspection => (200, r#"{"valid":true}"#),
        ServiceBehaviour::Revoked if is_introspection => (200, r#"{"valid":false}"#),
        ServiceBehaviour::Valid => (200, r#"{"id":1,"rol":"cliente"}"#),
        ServiceBehaviour::Revoked => (401, request.as_str()),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The client may have disconnected meanwhile.
    let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
}
