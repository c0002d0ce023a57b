//! The responses about streams: snapshots and events, the WebSocket, and the hook.

use reqwest::RequestBuilder;
use serde_json::json;

use super::{HOOK_KEY, ResponseRecorder};
use crate::harness::{ADMIN_OF_B1, B1, OTHER_USER, claims};

const READ: &str = "/estadisticas/{negocio_id}";
const FOLLOW: &str = "/estadisticas/{negocio_id}/events";
const CHANNELS: &str = "/events";
const HOOKS: [&str; 2] = ["/notify/cita", "/notify/estadisticas"];
/// A valid `Sec-WebSocket-Key`.
const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

impl ResponseRecorder {
    pub(super) async fn check_statistics(&mut self) {
        let user = self.app.token(ADMIN_OF_B1);
        let other_user = self.app.token(OTHER_USER);
        let admin = self
            .app
            .sign(&json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 60}));
        for path in [READ, FOLLOW] {
            self.expect(
                200,
                "GET",
                path,
                self.ask("GET", path, B1).bearer_auth(&user),
            )
            .await;
            self.expect(
                200,
                "GET",
                path,
                self.ask("GET", &format!("{path}?token={user}"), B1),
            )
            .await;
            self.expect(
                400,
                "GET",
                path,
                self.ask("GET", path, "no-uuid").bearer_auth(&admin),
            )
            .await;
            self.expect(401, "GET", path, self.ask("GET", path, B1))
                .await;
            self.expect(
                403,
                "GET",
                path,
                self.ask("GET", path, B1).bearer_auth(&other_user),
            )
            .await;
            self.expect(
                404,
                "GET",
                path,
                self.ask("GET", path, "%ff").bearer_auth(&admin),
            )
            .await;
        }
        // A viewer is subscribed, so nothing is read again between the two requests.
        let mut socket = self.app.connect_socket(&user).await;
        socket.subscribe(&format!("estadisticas:{B1}")).await;
        let tag = self
            .ask("GET", READ, B1)
            .bearer_auth(&user)
            .send()
            .await
            .expect("a response")
            .headers()["etag"]
            .clone();
        self.expect(
            304,
            "GET",
            READ,
            self.ask("GET", READ, B1)
                .bearer_auth(&user)
                .header("if-none-match", tag),
        )
        .await;
    }

    pub(super) async fn check_channels(&mut self) {
        let (user, other_user) = (self.app.token(ADMIN_OF_B1), self.app.token(OTHER_USER));
        let (one, both) = (
            format!("channel=estadisticas:{B1}"),
            format!("channel=estadisticas:{B1}&channel=nada:1"),
        );
        for (status, query, token) in [
            (200, &*both, &*user),
            (400, "", &user),
            (400, "channel=estadisticas:no-uuid", &user),
            (401, &one, ""),
            (403, &one, &other_user),
            (404, "channel=nada:1", &user),
        ] {
            let path = format!("{CHANNELS}?{query}");
            let request = self.ask("GET", &path, B1).bearer_auth(token);
            self.expect(status, "GET", CHANNELS, request).await;
        }
    }

    fn upgrade(&self, token: &str, key: &str) -> RequestBuilder {
        let request = self
            .ask("GET", "/ws", "")
            .bearer_auth(token)
            .header("connection", "Upgrade");
        request
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", key)
    }

    pub(super) async fn check_socket(&mut self) {
        let user = self.app.token(ADMIN_OF_B1);
        let upgrade = |recorder: &Self, key: &str| recorder.upgrade(&user, key);
        let key = WEBSOCKET_KEY;
        self.expect(101, "GET", "/ws", upgrade(self, key)).await;
        self.expect(400, "GET", "/ws", upgrade(self, "short")).await;
        self.expect(
            403,
            "GET",
            "/ws",
            upgrade(self, key).header("origin", "https://evil.example"),
        )
        .await;
        self.expect(401, "GET", "/ws", self.ask("GET", "/ws", ""))
            .await;
        self.expect(
            426,
            "GET",
            "/ws",
            self.ask("GET", "/ws", "").bearer_auth(&user),
        )
        .await;
    }

    pub(super) async fn check_hook(&mut self) {
        let body = json!({"negocio_id": B1, "action": "created"}).to_string();
        for path in HOOKS {
            let post = |recorder: &Self, body: &str| {
                recorder
                    .ask("POST", path, "")
                    .header("x-api-key", HOOK_KEY)
                    .body(body.to_owned())
            };
            self.expect(200, "POST", path, post(self, &body)).await;
            self.expect(
                200,
                "POST",
                path,
                self.ask("POST", path, "")
                    .bearer_auth(HOOK_KEY)
                    .body(body.clone()),
            )
            .await;
            for wrong in ["{", "[]", "{}", r#"{"negocio_id":7}"#] {
                self.expect(400, "POST", path, post(self, wrong)).await;
            }
            self.expect(
                401,
                "POST",
                path,
                self.ask("POST", path, "").body(body.clone()),
            )
            .await;
            self.expect(413, "POST", path, post(self, &"x".repeat(20_000)))
                .await;
            self.expect(
                415,
                "POST",
                path,
                post(self, &body).header("content-type", "text/html"),
            )
            .await;
        }
    }

    /// Asserts that the limits of the hook and of connections per user are enforced.
    pub(super) async fn check_limits(&mut self) {
        let token = self.app.token(ADMIN_OF_B1);
        let _held = self.app.connect_socket(&token).await;
        self.expect(
            429,
            "GET",
            FOLLOW,
            self.ask("GET", FOLLOW, B1).bearer_auth(&token),
        )
        .await;
        let channels = format!("{CHANNELS}?channel=estadisticas:{B1}");
        let channels = self.ask("GET", &channels, B1).bearer_auth(&token);
        self.expect(429, "GET", CHANNELS, channels).await;
        self.expect(429, "GET", "/ws", self.upgrade(&token, WEBSOCKET_KEY))
            .await;
        for path in HOOKS {
            let request = |recorder: &Self| recorder.ask("POST", path, "").body("{}");
            let _taken = request(self).send().await.expect("a response");
            self.expect(429, "POST", path, request(self)).await;
        }
        let mut last = 200;
        for _ in 0..100 {
            let request = self.ask("GET", READ, B1).bearer_auth(&token);
            let response = request.send().await.expect("a response");
            last = response.status().as_u16();
            self.check_response("GET", READ, response).await;
            if last == 429 {
                break;
            }
        }
        assert_eq!(last, 429);
    }
}
