//! Whom a server asks about tokens: their issuer, its key set, the API that knows whose a token is. What goes wrong there repeats the question.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How they are at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mood {
    Well,
    /// Every token was revoked.
    Revoked,
    /// 500, and the question for an explanation.
    Broken,
    /// 200, and the question for an answer.
    Garbled,
}

pub(super) struct Outside {
    port: u16,
    mood: Arc<Mutex<Mood>>,
    questions: Arc<AtomicUsize>,
}

impl Outside {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mood, questions) = (
            Arc::new(Mutex::new(Mood::Well)),
            Arc::new(AtomicUsize::new(0)),
        );
        let outside = Self {
            port,
            mood: Arc::clone(&mood),
            questions: Arc::clone(&questions),
        };
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (mood, questions) = (Arc::clone(&mood), Arc::clone(&questions));
                tokio::spawn(async move { answer(socket, &mood, &questions).await });
            }
        });
        outside
    }

    pub(super) fn root(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An address with a secret in it.
    pub(super) fn url(&self, path: &str, key: &str) -> String {
        format!("{}/{path}?key={key}", self.root())
    }

    pub(super) fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Questions about tokens so far.
    pub(super) fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

async fn answer(mut socket: TcpStream, mood: &Mutex<Mood>, questions: &AtomicUsize) {
    let mut said = Vec::new();
    // A GET ends with its head, a POST with the JSON behind it.
    while !said.ends_with(b"\r\n\r\n") && !said.ends_with(b"}") {
        if socket
            .read_buf(&mut said)
            .await
            .is_ok_and(|count| count == 0)
        {
            return;
        }
        if said.starts_with(b"POST") && said.ends_with(b"\r\n\r\n") {
            said.push(b' ');
        }
    }
    let said = String::from_utf8(said).unwrap();
    let mood = *mood.lock().unwrap();
    let is_introspection = said.starts_with("POST /introspect");
    questions.fetch_add(usize::from(is_introspection), Ordering::SeqCst);
    let (status, body) = match mood {
        Mood::Broken => (500, said.as_str()),
        Mood::Garbled => (200, said.as_str()),
        _ if said.starts_with("GET /keys") => (200, r#"{"keys":[]}"#),
        Mood::Well if is_introspection => (200, r#"{"valid":true}"#),
        Mood::Revoked if is_introspection => (200, r#"{"valid":false}"#),
        Mood::Well => (200, r#"{"id":1,"rol":"cliente"}"#),
        Mood::Revoked => (401, said.as_str()),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // Whoever asked may have gone.
    let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
}
