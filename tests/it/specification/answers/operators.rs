//! The responses to operators, in both generations of addresses.

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::ResponseRecorder;
use crate::harness::{ADMIN_OF_B1, B1, SYSTEM_ADMIN, claims, wait_until};

const FOREIGN_ORIGIN: &str = "https://evil.example";
/// A client id that no server has.
const UNKNOWN_CLIENT: &str = "0-999999-1";

impl ResponseRecorder {
    pub(super) async fn check_operators(&mut self) {
        let admin = self
            .app
            .sign(&json!({"id": SYSTEM_ADMIN, "rol": "admin_sistema", "exp": claims::now() + 60}));
        // The lists must not be empty, and the first second must be over.
        let mut watcher = self.app.connect_socket(&admin).await;
        watcher.subscribe(&format!("estadisticas:{B1}")).await;
        let stats = async || {
            self.ask("GET", "/dashboard/stats", "")
                .bearer_auth(&admin)
                .send()
                .await
                .expect("a response")
        };
        let is_over = |stats: Value| {
            stats["now"].is_object() && stats["rooms"]["rows"][0]["data"].is_object()
        };
        wait_until("a second is over", async || {
            is_over(stats().await.json().await.expect("JSON"))
        })
        .await;
        for (start, posted) in [("/dashboard", 201), ("/api/dashboard", 202)] {
            self.expect(
                posted,
                "POST",
                &format!("{start}/cleanup"),
                self.post(start, "cleanup", &admin),
            )
            .await;
            self.check_refused("POST", &format!("{start}/cleanup"))
                .await;
            let reload = format!("{start}/reload");
            let post = self.post(start, "reload", &admin);
            self.expect(404, "POST", &reload, post).await;
            self.check_refused("POST", &reload).await;
            self.check_statistics_pages(start, &admin).await;
            self.check_close("DELETE", &format!("{start}/clients/{{id}}"), &admin)
                .await;
            self.check_close("POST", &format!("{start}/clients/{{id}}/close"), &admin)
                .await;
        }
        let page = |recorder: &Self| {
            recorder
                .ask("GET", "/dashboard", "")
                .header("accept", "text/html")
        };
        self.expect(200, "GET", "/dashboard", page(self)).await;
        self.expect(
            304,
            "GET",
            "/dashboard",
            page(self).header("if-none-match", "*"),
        )
        .await;
    }

    /// Checks the responses of a server that can read its configuration again.
    pub(super) async fn check_reload(&mut self, has_mistake: &AtomicBool) {
        let claims = json!({"id": SYSTEM_ADMIN, "rol": "admin_sistema", "exp": claims::now() + 60});
        let admin = self.app.sign(&claims);
        for (status, is_wrong) in [(200, false), (422, true)] {
            has_mistake.store(is_wrong, Ordering::SeqCst);
            for start in ["/dashboard", "/api/dashboard"] {
                let post = self.post(start, "reload", &admin);
                let path = format!("{start}/reload");
                self.expect(status, "POST", &path, post).await;
            }
        }
    }

    async fn check_statistics_pages(&mut self, start: &str, admin: &str) {
        for page in [
            "",
            "/clients",
            "/rooms",
            "/events",
            "/stats",
            "/metrics",
            "/status",
            "/api-status",
        ] {
            let path = format!("{start}{page}");
            self.expect(
                200,
                "GET",
                &path,
                self.ask("GET", &path, "").bearer_auth(admin),
            )
            .await;
            self.expect(
                200,
                "GET",
                &path,
                self.ask("GET", &format!("{path}?limit=1&q=ana"), "")
                    .bearer_auth(admin),
            )
            .await;
            if ["/clients", "/rooms", "/events"].contains(&page) {
                for limit in ["", "-1", "x", "1.5"] {
                    let bad = self.ask("GET", &format!("{path}?limit={limit}"), "");
                    self.expect(400, "GET", &path, bad.bearer_auth(admin)).await;
                }
            }
            self.check_refused("GET", &path).await;
        }
    }

    fn post(&self, start: &str, what: &str, token: &str) -> RequestBuilder {
        self.ask("POST", &format!("{start}/{what}"), "")
            .bearer_auth(token)
    }

    /// Asserts that the server refuses users without the operator role, invalid tokens, tokens in
    /// the address, and requests from another site's page.
    async fn check_refused(&mut self, method: &str, path: &str) {
        let user = self.app.token(ADMIN_OF_B1);
        let at = path.replace("{id}", UNKNOWN_CLIENT);
        self.expect(401, method, path, self.ask(method, &at, ""))
            .await;
        self.expect(
            401,
            method,
            path,
            self.ask(method, &format!("{at}?token={user}"), ""),
        )
        .await;
        self.expect(
            401,
            method,
            path,
            self.ask(method, &at, "").bearer_auth("x.y.z"),
        )
        .await;
        self.expect(
            403,
            method,
            path,
            self.ask(method, &at, "").bearer_auth(&user),
        )
        .await;
        self.expect(
            403,
            method,
            path,
            self.ask(method, &at, "")
                .bearer_auth(&user)
                .header("origin", FOREIGN_ORIGIN),
        )
        .await;
    }

    async fn check_close(&mut self, method: &str, path: &str, admin: &str) {
        self.check_refused(method, path).await;
        let close = |recorder: &Self, id: &str| {
            recorder
                .ask(method, &path.replace("{id}", id), "")
                .bearer_auth(admin)
        };
        self.expect(400, method, path, close(self, "nobody")).await;
        let undecided = path.replace("{id}", UNKNOWN_CLIENT) + "?come_back=maybe";
        let undecided = self.ask(method, &undecided, "").bearer_auth(admin);
        self.expect(400, method, path, undecided).await;
        self.expect(404, method, path, close(self, UNKNOWN_CLIENT))
            .await;
        for (query, code) in [("", 4403), ("?come_back=true", 1012)] {
            let user = format!("{}-{code}", path.len());
            let token = self
                .app
                .sign(&json!({"id": user, "exp": claims::now() + 60}));
            let mut client = self.app.connect_socket(&token).await;
            client.send(&json!({"type": "ping"})).await;
            client.next_of_type("pong").await;
            let list = self
                .ask("GET", &format!("/dashboard/clients?q={user}"), "")
                .bearer_auth(admin)
                .send()
                .await;
            let list: Value = list.expect("a response").json().await.expect("JSON");
            let id = list[0]["id"].as_str().expect("an id");
            let at = path.replace("{id}", id) + query;
            self.expect(
                200,
                method,
                path,
                self.ask(method, &at, "").bearer_auth(admin),
            )
            .await;
            assert_eq!(client.wait_for_close_code().await, Some(code), "{at}");
        }
    }
}
