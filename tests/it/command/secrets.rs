//! Secrets that a client presents to any endpoint never appear in a TRACE log, a metric, an
//! operator response or an error.

mod apps;
mod external_services;
mod files;

use reqwest::{Method, RequestBuilder};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{CommandSetup, SECRET};
use crate::harness::{
    ADMIN_OF_B1, B1, ReservedPort, RunningCommand, TestSocket, claims, http_client, wait_until,
};
use external_services::{ExternalServices, ServiceBehaviour};

const HOOK_KEY: &str = "a key that clients of the hook present";
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
        let external = ExternalServices::start().await;
        let (introspection, keys) = (
            external.url("introspect", ADDRESS_KEYS[0]),
            external.url("keys", ADDRESS_KEYS[1]),
        );
        let reserved_port = ReservedPort::new();
        let gateway_port = reserved_port.number().to_string();
        let variables = [
            ("RUST_LOG", "trace"),
            ("LATIDO_APPS", "workspace,messaging,modules,gateway"),
            ("NOTIFY_API_KEY", HOOK_KEY),
            ("WORKSPACE_API_KEY", WORKSPACE_KEY),
            ("MODULES_API_KEY", MODULES_KEY),
            ("MODULES_SESSION_SECRET", SESSION_SECRET),
            ("GATEWAY_API_KEY", GATEWAY_KEY),
            ("GATEWAY_API_URL", &external.root()),
            ("GATEWAY_PORT", &gateway_port),
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
        let listeners = [address, format!("127.0.0.1:{gateway_port}")];
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
            external,
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
        let response = request.send().await.unwrap();
        let (status, head) = (
            response.status().as_u16(),
            format!("{:?}", response.headers()),
        );
        let body = response.text().await.unwrap_or_default();
        self.responses
            .push_str(&format!("{status} {head} {body}\n"));
        status
    }

    /// Connects, sends each of these messages and records one response to each.
    async fn exchange(
        &mut self,
        url: &str,
        headers: &[(&'static str, &str)],
        messages: &[String],
    ) -> Result<(), u16> {
        let mut socket = TestSocket::try_connect(url, headers).await?;
        if url.contains("/socket.io/") {
            // The Socket.IO server sends the first message.
            self.responses.push_str(&socket.next_text().await);
        }
        self.exchange_on(&mut socket, messages).await;
        Ok(())
    }

    /// Sends the messages on a connection that may end meanwhile.
    async fn exchange_on(&mut self, socket: &mut TestSocket, messages: &[String]) {
        for message in messages {
            if socket.try_send(Message::text(message.clone())).await {
                self.responses.push_str(&socket.next_text().await);
            }
        }
    }

    /// The native protocol and the streams' REST API, with tokens in every place: valid ones,
    /// revoked ones, and ones that cannot be checked.
    async fn probe_streams(&mut self) {
        for (behaviour, refused) in [
            (ServiceBehaviour::Valid, None),
            (ServiceBehaviour::Revoked, Some(401)),
            (ServiceBehaviour::Failing, Some(503)),
            (ServiceBehaviour::Repeating, Some(503)),
        ] {
            self.external.set_behaviour(behaviour);
            self.probe_tokens(behaviour, refused).await;
        }
        self.external.set_behaviour(ServiceBehaviour::Valid);
        self.probe_unknown_signature().await;
        self.probe_hook().await;
    }

    /// Presents tokens in every place. Asserts that they are refused with this status, if any.
    async fn probe_tokens(&mut self, behaviour: ServiceBehaviour, refused: Option<u16>) {
        let (query, protocol, bearer, later, rest) = (
            self.user_token(),
            self.user_token(),
            self.user_token(),
            self.user_token(),
            self.user_token(),
        );
        let ws = format!("ws://{}/ws", self.listeners[0]);
        // Workspace clients need no token to connect, but an invalid token is still refused.
        let opened = self
            .exchange(&format!("{ws}?token={query}"), &[], &[])
            .await;
        assert_eq!(opened.err(), refused, "{behaviour:?}");
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
        self.external.set_behaviour(behaviour);
        let renewals = [later, self.invalid_secret()]
            .map(|token| json!({"type": "auth", "data": {"token": token}}).to_string());
        self.exchange_on(&mut socket, &renewals).await;
        let snapshot = self.request(Method::GET, &format!("/estadisticas/{B1}?token={rest}"));
        let status = self.record_response(snapshot).await;
        assert_eq!(status, refused.unwrap_or(200));
    }

    async fn probe_unknown_signature(&mut self) {
        let ws = format!("ws://{}/ws", self.listeners[0]);
        let signed_by_nobody = format!(
            "eyJhbGciOiJSUzI1NiIsImtpZCI6Im5ldyJ9.eyJpZCI6MX0.{}",
            self.invalid_secret()
        );
        for behaviour in [ServiceBehaviour::Failing, ServiceBehaviour::Valid] {
            self.external.set_behaviour(behaviour);
            let refused = self
                .exchange(&format!("{ws}?token={signed_by_nobody}"), &[], &[])
                .await
                .err();
            assert!(matches!(refused, Some(401 | 503)), "{refused:?}");
        }
        self.external.set_behaviour(ServiceBehaviour::Valid);
    }

    async fn probe_hook(&mut self) {
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

    /// Requests the pages of operators and the metrics.
    async fn probe_operators(&mut self) {
        let admin = self
            .token(json!({"id": "aaaaaaaa-0000-4000-8000-000000000003", "rol": "admin_sistema"}));
        let wrong = self.invalid_secret();
        for root in ["/dashboard", "/api/dashboard"] {
            for page in [
                "",
                "/clients",
                "/rooms",
                "/events",
                "/stats",
                "/metrics",
                "/api-status",
            ] {
                let request = self
                    .request(Method::GET, &format!("{root}{page}"))
                    .bearer_auth(&admin);
                assert_eq!(self.record_response(request).await, 200, "{root}{page}");
                let request = self
                    .request(Method::GET, &format!("{root}{page}?token={admin}"))
                    .bearer_auth(&wrong);
                assert_eq!(self.record_response(request).await, 401);
                if root == "/dashboard" {
                    let request = self.gateway_request(Method::GET, &format!("{root}{page}"));
                    let request = request.header("x-api-key", GATEWAY_KEY);
                    assert_eq!(self.record_response(request).await, 200, "{root}{page}");
                }
            }
        }
        for path in ["/metrics", "/health", "/ready"] {
            let request = self.request(Method::GET, path);
            assert_eq!(self.record_response(request).await, 200, "{path}");
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
    let before = probe.external.token_requests();
    wait_until("tokens in use are checked again", async || {
        probe.external.token_requests() > before
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
        "the most detailed level is logged"
    );
    for secret in secrets {
        let line = finished
            .stderr
            .lines()
            .chain(responses.lines())
            .find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret} is in a log or in a response");
    }
}
