//! The responses of a demo, also while its database is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use latido_demo::SqlExecutor;
use serde_json::json;

use super::ResponseRecorder;

/// A demo database that works or fails as the test requires.
pub(super) struct SwitchableDatabase(pub(super) Arc<AtomicBool>);

impl SqlExecutor for SwitchableDatabase {
    fn execute<'a>(&'a self, _: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
        let works = self.0.load(Ordering::SeqCst);
        async move { if works { Ok(1) } else { anyhow::bail!("away") } }.boxed()
    }
}

impl ResponseRecorder {
    pub(super) async fn check_demo(&mut self, works: &AtomicBool) {
        let business = latido_demo::BUSINESSES[0].id;
        let post = |witness: &Self, id: &str| {
            witness
                .ask("POST", "/demo/citas", "")
                .json(&json!({"negocio_id": id}))
        };
        self.expect(
            200,
            "GET",
            "/demo/session",
            self.ask("GET", "/demo/session", ""),
        )
        .await;
        self.expect(
            403,
            "GET",
            "/demo/session",
            self.ask("GET", "/demo/session", "")
                .header("host", "evil.example"),
        )
        .await;
        self.expect(
            200,
            "GET",
            "/demo/operator",
            self.ask("GET", "/demo/operator", ""),
        )
        .await;
        self.expect(
            403,
            "GET",
            "/demo/operator",
            self.ask("GET", "/demo/operator", "")
                .header("host", "evil.example"),
        )
        .await;
        self.expect(201, "POST", "/demo/citas", post(self, business))
            .await;
        self.expect(404, "POST", "/demo/citas", post(self, "nowhere"))
            .await;
        self.expect(
            403,
            "POST",
            "/demo/citas",
            post(self, business).header("sec-fetch-site", "cross-site"),
        )
        .await;
        let raw = |witness: &Self, kind: &str| {
            witness
                .ask("POST", "/demo/citas", "")
                .header("content-type", kind)
                .body("{")
        };
        self.expect(400, "POST", "/demo/citas", raw(self, "application/json"))
            .await;
        self.expect(415, "POST", "/demo/citas", raw(self, "text/plain"))
            .await;
        works.store(false, Ordering::SeqCst);
        self.expect(503, "POST", "/demo/citas", post(self, business))
            .await;
    }
}
