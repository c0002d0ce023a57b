//! Secrets that a client presents to any endpoint never appear in a TRACE log, a metric, an
//! operator response or an error.

mod external_services;

use base64::Engine as _;
use hmac::{KeyInit as _, Mac as _};
use reqwest::{Method, RequestBuilder};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{CommandSetup, SECRET};
use crate::harness::{
    ADMIN_OF_B1, B1, RunningCommand, TestSocket, claims, http_client, wait_until,
};
use external_services::{ExternalServices, ServiceBehaviour};

const HOOK_KEY: &str = "a key that callers of the hook present";
const WORKSPACE_KEY: &str = "a key that a publisher presents";
const MODULES_KEY: &str = "a key that the owner of machines presents";
const GATEWAY_KEY: &str = "a key that an older publisher presents";
const SESSION_SECRET: &str = "what signs the sessions of an older server";
const SESSION: &str = "the-name-of-a-session";
/// The secrets in the issuer's URLs, which the operator configures.
const ADDRESS_KEYS: [&str; 2] = ["what-opens-the-introspection", "what-opens-the-key-set"];
/// A bcrypt hash of `s3cret`. Its cost is far too low for production.
const PASSWORD_HASH: &str = "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG";

/// A server with every app, the secrets presented to it, and its responses.
struct SecretProbe {
    place: CommandSetup,
    server: RunningCommand,
    external: ExternalServices,
    /// The addresses of the main listener and of the gateway's listener.
    listeners: [String; 2],
    secrets: Vec<String>,
    responses: String,
}

impl SecretProbe {
    async fn start() -> Self {
        let place = CommandSetup::new().await;
        let outside = ExternalServices::start().await;
        let (introspection, keys) = (
            outside.url("introspect", ADDRESS_KEYS[0]),
            outside.url("keys", ADDRESS_KEYS[1]),
        );
        let variables = [
            ("RUST_LOG", "trace"),
            ("LATIDO_APPS", "workspace,messaging,modules,gateway"),
            ("NOTIFY_API_KEY", HOOK_KEY),
            ("WORKSPACE_API_KEY", WORKSPACE_KEY),
            ("MODULES_API_KEY", MODULES_KEY),
            ("MODULES_SESSION_SECRET", SESSION_SECRET),
            ("GATEWAY_API_KEY", GATEWAY_KEY),
            ("GATEWAY_API_URL", &outside.root()),
            ("GATEWAY_PORT", "0"),
            ("JWT_INTROSPECTION_URL", &introspection),
            ("JWT_INTROSPECTION_SECONDS", "1"),
            ("JWT_JWKS_URL", &keys),
        ];
        let installed = place.start(&["install"], &variables).wait_for_exit().await;
        assert_eq!(installed.code, Some(0), "{installed:?}");
        let sql = format!(
            "INSERT INTO users (id, name) VALUES (7, 'Ana');
             INSERT INTO modules (module_id, module_code, module_password_hash, user_id, claimed) VALUES ('M1', 'c1', '{PASSWORD_HASH}', 7, true);
             INSERT INTO session (sid, sess, expire) VALUES ('{SESSION}', '{{\"userId\": 7}}', now() + interval '1 hour')"
        );
        place
            .database
            .client()
            .await
            .batch_execute(&sql)
            .await
            .unwrap();
        let server = place.start(&["serve"], &variables);
        let address = server.ready_address().await.to_string();
        let line = server
            .wait_for_stderr("the gateway listens", |line| {
                line.contains("listening for apps")
            })
            .await;
        let line: Value = serde_json::from_str(&line).unwrap();
        let listeners = [address, line["listener"].as_str().unwrap().to_owned()];
        let mut secrets: Vec<_> = [
            HOOK_KEY,
            WORKSPACE_KEY,
            MODULES_KEY,
            GATEWAY_KEY,
            SESSION_SECRET,
            SESSION,
            PASSWORD_HASH,
            SECRET,
        ]
        .map(ToOwned::to_owned)
        .to_vec();
        secrets.extend(ADDRESS_KEYS.map(ToOwned::to_owned));
        secrets.push("open-sesame".to_owned());
        Self {
            place,
            server,
            external: outside,
            listeners,
            secrets,
            responses: String::new(),
        }
    }

    /// Signs a valid token. Each token is presented once, because the server caches the issuer's
    /// result.
    fn token(&mut self, mut claims: Value) -> String {
        claims["exp"] = json!(claims::now() + 600);
        claims["jti"] = json!(self.secrets.len());
        let token = claims::sign_with(SECRET, &claims);
        // The signature is the secret part of a token.
        self.secrets
            .push(token.rsplit_once('.').unwrap().1.to_owned());
        token
    }

    fn user_token(&mut self) -> String {
        self.token(json!({"id": ADMIN_OF_B1, "negocio_id": B1}))
    }

    /// Returns an invalid secret. It must not leak either, because it may be a mistyped real one.
    fn invalid_secret(&mut self) -> String {
        let word = format!("wrong-word-{}", self.secrets.len());
        self.secrets.push(format!("{word}-"));
        format!("{word}-")
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        http_client().request(method, format!("http://{}{path}", self.listeners[0]))
    }

    fn gateway_request(&self, method: Method, path: &str) -> RequestBuilder {
        http_client().request(method, format!("http://{}{path}", self.listeners[1]))
    }

    /// Sends a request and records the response with its headers.
    async fn record_response(&mut self, request: RequestBuilder) -> u16 {
        let answer = request.send().await.unwrap();
        let (status, head) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
        let body = answer.text().await.unwrap_or_default();
        self.responses
            .push_str(&format!("{status} {head} {body}\n"));
        status
    }

    /// Connects, sends each of these messages and records one response to each.
    async fn exchange(
        &mut self,
        url: &str,
        headers: &[(&'static str, &str)],
        words: &[String],
    ) -> Result<(), u16> {
        let mut socket = TestSocket::try_connect(url, headers).await?;
        if url.contains("/socket.io/") {
            // The Socket.IO server sends the first message.
            self.responses.push_str(&socket.next_text().await);
        }
        self.exchange_on(&mut socket, words).await;
        Ok(())
    }

    /// Sends the messages on a connection that may end meanwhile.
    async fn exchange_on(&mut self, socket: &mut TestSocket, words: &[String]) {
        for word in words {
            if socket.try_send(Message::text(word.clone())).await {
                self.responses.push_str(&socket.next_text().await);
            }
        }
    }

    /// The native protocol and the streams' REST API, with tokens in every place: valid ones,
    /// revoked ones, and ones that cannot be checked.
    async fn probe_streams(&mut self) {
        let ws = format!("ws://{}/ws", self.listeners[0]);
        let moods = [
            (ServiceBehaviour::Valid, None),
            (ServiceBehaviour::Revoked, Some(401)),
            (ServiceBehaviour::Failing, Some(503)),
            (ServiceBehaviour::Repeating, Some(503)),
        ];
        for (mood, refused) in moods {
            self.external.set_behaviour(mood);
            let (query, protocol, bearer, later, rest) = (
                self.user_token(),
                self.user_token(),
                self.user_token(),
                self.user_token(),
                self.user_token(),
            );
            // Workspace clients need no token to connect, but an invalid token is still refused.
            let opened = self
                .exchange(&format!("{ws}?token={query}"), &[], &[])
                .await;
            assert_eq!(opened.err(), refused, "{mood:?}");
            let protocol = format!("bearer, {protocol}");
            assert_eq!(
                self.exchange(&ws, &[("sec-websocket-protocol", &protocol)], &[])
                    .await
                    .err(),
                refused
            );
            let bearer = format!("Bearer {bearer}");
            assert_eq!(
                self.exchange(&ws, &[("authorization", &bearer)], &[])
                    .await
                    .err(),
                refused
            );
            self.external.set_behaviour(ServiceBehaviour::Valid);
            let good = self.user_token();
            let mut socket = TestSocket::connect(&ws, &good).await;
            self.external.set_behaviour(mood);
            let renewals = [later, self.invalid_secret()]
                .map(|token| json!({"type": "auth", "data": {"token": token}}).to_string());
            self.exchange_on(&mut socket, &renewals).await;
            let snapshot = self.request(Method::GET, &format!("/estadisticas/{B1}?token={rest}"));
            let status = self.record_response(snapshot).await;
            assert_eq!(status, refused.unwrap_or(200));
        }
        self.external.set_behaviour(ServiceBehaviour::Valid);
        let signed_by_nobody = format!(
            "eyJhbGciOiJSUzI1NiIsImtpZCI6Im5ldyJ9.eyJpZCI6MX0.{}",
            self.invalid_secret()
        );
        for mood in [ServiceBehaviour::Failing, ServiceBehaviour::Valid] {
            self.external.set_behaviour(mood);
            let refused = self
                .exchange(&format!("{ws}?token={signed_by_nobody}"), &[], &[])
                .await
                .err();
            assert!(matches!(refused, Some(401 | 503)), "{refused:?}");
        }
        self.external.set_behaviour(ServiceBehaviour::Valid);
        for key in [HOOK_KEY.to_owned(), self.invalid_secret()] {
            for header in ["x-api-key", "authorization"] {
                let value = if header == "authorization" {
                    format!("Bearer {key}")
                } else {
                    key.clone()
                };
                let hook = self
                    .request(Method::POST, "/notify/cita")
                    .header(header, value);
                let status = self
                    .record_response(hook.json(&json!({"negocio_id": B1, "action": "created"})))
                    .await;
                assert_eq!(status, if key == HOOK_KEY { 200 } else { 401 });
            }
        }
    }

    async fn probe_workspace(&mut self) {
        let good = self
            .token(json!({"userId": "7", "workspaces": [{"workspaceId": "1", "role": "admin"}]}));
        let url = format!("ws://{}/ws", self.listeners[0]);
        for token in [good, self.invalid_secret()] {
            let auth = json!({"type": "auth", "workspace_id": "1", "user_id": "7", "token": token})
                .to_string();
            self.exchange(&url, &[], &[auth]).await.unwrap();
        }
        for key in [WORKSPACE_KEY.to_owned(), self.invalid_secret()] {
            let publish = self
                .request(Method::POST, "/api/workspaces/1/broadcast")
                .header("x-api-key", &key);
            let status = self
                .record_response(publish.json(&json!({"message": 1})))
                .await;
            assert_eq!(status == 200, key == WORKSPACE_KEY, "{status}");
        }
    }

    async fn probe_messaging(&mut self) {
        let user = "aaaa0000-0000-4000-8000-000000000001";
        let socket = format!(
            "ws://{}/socket/websocket?vsn=2.0.0&token=",
            self.listeners[0]
        );
        let joins: Vec<_> = (0..2)
            .map(|_| json!(["1", "1", format!("user:{user}"), "phx_join", {"token": self.invalid_secret(), "params": {"token": self.invalid_secret()}}]))
            .map(|join| join.to_string())
            .collect();
        let good = self.token(json!({"sub": user, "device_id": "d"}));
        // The server answers 503 until the change feed knows its start position.
        wait_until("the feed has begun", async || {
            self.exchange(&format!("{socket}{good}"), &[], &joins[..1])
                .await
                .is_ok()
        })
        .await;
        self.external.set_behaviour(ServiceBehaviour::Failing);
        let unverified = self.token(json!({"sub": user, "device_id": "d"}));
        assert_eq!(
            self.exchange(&format!("{socket}{unverified}"), &[], &[])
                .await
                .err(),
            Some(503),
            "it may be a good one"
        );
        self.external.set_behaviour(ServiceBehaviour::Valid);
        let wrong = self.invalid_secret();
        assert!(
            self.exchange(&format!("{socket}{wrong}"), &[], &[])
                .await
                .is_err()
        );
        assert!(
            self.exchange(
                socket.trim_end_matches("&token="),
                &[("authorization", &format!("Bearer {wrong}"))],
                &[]
            )
            .await
            .is_err()
        );
    }

    async fn probe_modules(&mut self) {
        let listener = self.listeners[0].clone();
        self.secrets.push("s3cret".to_owned());
        for password in ["s3cret".to_owned(), self.invalid_secret()] {
            let identify = json!({"type": "module_identify", "moduleId": "M1", "password": password, "uptime": 5}).to_string();
            self.exchange(&format!("ws://{listener}/esp32"), &[], &[identify])
                .await
                .unwrap();
        }
        let signature =
            hmac::Hmac::<sha2::Sha256>::new_from_slice(SESSION_SECRET.as_bytes()).unwrap();
        let signature = signature.chain_update(SESSION).finalize().into_bytes();
        let signature = base64::engine::general_purpose::STANDARD_NO_PAD.encode(signature);
        let cookies = [
            format!("connect.sid=s:{SESSION}.{signature}"),
            format!("connect.sid=s:{SESSION}.{}", self.invalid_secret()),
        ];
        self.secrets.push(signature);
        let url = format!("ws://{listener}/socket.io/?EIO=4&transport=websocket");
        for (cookie, tokens) in cookies.into_iter().zip([
            [self.user_token(), self.user_token()],
            [self.invalid_secret(), self.invalid_secret()],
        ]) {
            let [first, second] = tokens;
            let open = format!("40{}", json!({"token": first}));
            let identify = format!(
                "42{}",
                json!(["client:authenticate", {"token": second, "sessionToken": second}])
            );
            self.exchange(&url, &[("cookie", &cookie)], &["40".to_owned(), identify])
                .await
                .unwrap();
            self.exchange(&format!("{url}&token={second}"), &[], &[open])
                .await
                .unwrap();
            let stats = self
                .request(Method::GET, &format!("/api/modules/stats?token={second}"))
                .header("cookie", &cookie);
            self.record_response(stats).await;
            let polling = self.request(
                Method::GET,
                &format!("/socket.io/?EIO=4&transport=polling&token={first}"),
            );
            assert_eq!(
                self.record_response(polling.header("cookie", cookie)).await,
                200
            );
        }
        self.external.set_behaviour(ServiceBehaviour::Failing);
        let unverified = self.user_token();
        let stats = self.request(
            Method::GET,
            &format!("/api/modules/stats?token={unverified}"),
        );
        assert_eq!(
            self.record_response(stats).await,
            503,
            "it may be a good one"
        );
        self.external.set_behaviour(ServiceBehaviour::Valid);
        for key in [MODULES_KEY.to_owned(), self.invalid_secret()] {
            let body = json!({"user": {"id": 7, "name": "Ana", "password": self.invalid_secret(), "sessionId": self.invalid_secret()}});
            let emit = self
                .request(Method::POST, "/api/modules/emit/emitUserLoggedIn")
                .header("x-api-key", &key)
                .json(&body);
            assert_eq!(
                self.record_response(emit).await,
                if key == MODULES_KEY { 200 } else { 401 }
            );
        }
    }

    async fn probe_gateway(&mut self) {
        let url = format!(
            "ws://{}/socket.io/?EIO=4&transport=websocket",
            self.listeners[1]
        );
        for mood in [
            ServiceBehaviour::Valid,
            ServiceBehaviour::Revoked,
            ServiceBehaviour::Failing,
            ServiceBehaviour::Repeating,
        ] {
            self.external.set_behaviour(mood);
            let token = self.invalid_secret();
            let authenticate = format!(
                "42{}",
                json!(["authenticate", {"token": token, "userId": 1, "role": "cliente"}])
            );
            self.exchange(
                &url,
                &[],
                &[format!("40{}", json!({"token": token})), authenticate],
            )
            .await
            .unwrap();
            let (key, token) = (self.invalid_secret(), self.invalid_secret());
            for proof in [
                format!("Bearer {key}"),
                format!("Token {token}"),
                format!("Bearer {GATEWAY_KEY}"),
            ] {
                // Pretend to come through a proxy, because local requests need no proof.
                let asked = self
                    .gateway_request(Method::GET, "/dashboard")
                    .header("x-forwarded-for", "192.0.2.1");
                let is_key = proof.ends_with(GATEWAY_KEY);
                assert_eq!(
                    self.record_response(asked.header("authorization", proof))
                        .await
                        == 200,
                    is_key
                );
            }
        }
        self.external.set_behaviour(ServiceBehaviour::Valid);
    }

    /// Requests the pages of operators and the metrics.
    async fn probe_operators(&mut self) {
        let admin = self
            .token(json!({"id": "aaaaaaaa-0000-4000-8000-000000000003", "rol": "admin_sistema"}));
        let wrong = self.invalid_secret();
        for root in ["/dashboard", "/api/dashboard"] {
            for what in [
                "",
                "/clients",
                "/rooms",
                "/events",
                "/stats",
                "/metrics",
                "/api-status",
            ] {
                let asked = self
                    .request(Method::GET, &format!("{root}{what}"))
                    .bearer_auth(&admin);
                assert_eq!(self.record_response(asked).await, 200, "{root}{what}");
                let asked = self
                    .request(Method::GET, &format!("{root}{what}?token={admin}"))
                    .bearer_auth(&wrong);
                assert_eq!(self.record_response(asked).await, 401);
                if root == "/dashboard" {
                    let asked = self.gateway_request(Method::GET, &format!("{root}{what}"));
                    assert_eq!(self.record_response(asked).await, 200, "{root}{what}");
                }
            }
        }
        for path in ["/metrics", "/health", "/ready"] {
            let asked = self.request(Method::GET, path);
            assert_eq!(self.record_response(asked).await, 200, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presented_secrets_never_leak() {
    let mut probe = SecretProbe::start().await;
    probe.probe_streams().await;
    probe.probe_workspace().await;
    probe.probe_messaging().await;
    probe.probe_modules().await;
    probe.probe_gateway().await;
    // A client that is connected while operators look.
    let (url, token) = (
        format!("ws://{}/ws", probe.listeners[0]),
        probe.user_token(),
    );
    let mut stays = TestSocket::connect(&url, &token).await;
    stays.subscribe(&format!("estadisticas:{B1}")).await;
    probe.probe_operators().await;
    probe.external.set_behaviour(ServiceBehaviour::Failing);
    let asked = probe.external.questions();
    wait_until("tokens in use are asked about again", async || {
        probe.external.questions() > asked
    })
    .await;

    let SecretProbe {
        place,
        server,
        secrets,
        responses,
        ..
    } = probe;
    server.signal(Signal::TERM);
    let finished = server.wait_for_exit().await;
    drop(place);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        finished.stderr.contains(r#""level":"TRACE""#),
        "all is logged that can be"
    );
    for secret in secrets {
        let line = finished
            .stderr
            .lines()
            .chain(responses.lines())
            .find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret} is in a log or in an answer");
    }
}
