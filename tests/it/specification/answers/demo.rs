//! The responses of the demo, and those of a server without one.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::ResponseRecorder;

impl ResponseRecorder {
    pub(super) async fn check_demo(&mut self, works: &AtomicBool) {
        let business = latido_demo::BUSINESSES[0].id;
        let post = |recorder: &Self, id: &str| {
            recorder
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
        let raw = |recorder: &Self, kind: &str| {
            recorder
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

    /// Asserts the responses of a server without a demo.
    pub(super) async fn check_absent_demo(&mut self) {
        self.expect(
            204,
            "GET",
            "/demo/session",
            self.ask("GET", "/demo/session", ""),
        )
        .await;
        self.expect(
            204,
            "GET",
            "/demo/operator",
            self.ask("GET", "/demo/operator", ""),
        )
        .await;
        self.expect(
            404,
            "POST",
            "/demo/citas",
            self.ask("POST", "/demo/citas", ""),
        )
        .await;
    }
}
