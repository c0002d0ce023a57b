//! Credentials that a client presents must not appear anywhere afterwards.

use std::io;
use std::sync::{Mutex, PoisonError};

use tracing::Level;

use super::backend::{HOOK_KEY, admin};
use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs on the current thread, so that the server's tasks log into this test's subscriber.
#[tokio::test]
async fn credentials_reach_no_log_and_no_metric() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let server = TestServer::start(HttpBackend::with_hook_key());
    let (good, bad) = (admin(), "a-secret-that-is-wrong");
    for token in [&*good, bad] {
        let (bearer, protocol) = (
            format!("Authorization: Bearer {token}"),
            format!("Sec-WebSocket-Protocol: bearer, {token}"),
        );
        for path in ["/ws", "/estadisticas/a%ff", "/nothing"] {
            let in_query = server
                .get(&format!("{path}?token={token}&x=%zz&token=%ff"), &[])
                .await;
            let in_headers = server.get(path, &[&bearer, &protocol]).await;
            assert!(!in_query.head.contains(token) && !in_query.body.contains(token));
            assert!(!in_headers.head.contains(token) && !in_headers.body.contains(token));
        }
        let keys = [format!("X-API-Key: {token}"), bearer];
        server
            .request(
                "POST /notify/cita",
                &keys.each_ref().map(String::as_str),
                "{",
            )
            .await;
    }
    server
        .request(
            "POST /notify/cita",
            &[&format!("X-API-Key: {HOOK_KEY}")],
            "{",
        )
        .await;
    let metrics = server.get("/metrics", &[]).await.body;
    drop(guard);
    let logs = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(
        logs.contains("a token was refused"),
        "the capture works: {logs}"
    );
    for secret in [&*good, bad, HOOK_KEY] {
        assert!(!logs.contains(secret), "{secret} in {logs}");
        assert!(!metrics.contains(secret));
    }
}
