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

    /// Asserts the response of a demo in which no role is an admin's.
    pub(super) async fn check_demo_without_operator(&mut self) {
        let path = "/demo/operator";
        self.expect(204, "GET", path, self.ask("GET", path, ""))
            .await;
    }

    /// Asserts that a server without a demo describes none of its addresses. The page asks for the
    /// sessions, so these are answered without an error.
    pub(super) async fn check_absent_demo(&self) {
        let paths = self.document.0["paths"].as_object().expect("paths");
        let described: Vec<_> = paths.keys().filter(|path| is_of_demo(path)).collect();
        assert!(described.is_empty(), "{described:?}");
        assert!(!self.document.0.to_string().contains("Demo"));
        for (method, path, status) in [
            ("GET", "/demo/session", 204),
            ("GET", "/demo/operator", 204),
            ("POST", "/demo/citas", 404),
        ] {
            let answer = self.ask(method, path, "").send().await.expect("a response");
            assert_eq!(answer.status(), status, "{method} {path}");
        }
    }
}

/// Returns whether only the demo answers an address.
fn is_of_demo(path: &str) -> bool {
    path.starts_with("/demo/")
}
