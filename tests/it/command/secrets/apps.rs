//! The secrets that clients and publishers present to the apps.

use base64::Engine as _;
use hmac::{KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::json;

use super::external_services::ServiceBehaviour;
use super::{GATEWAY_KEY, MODULES_KEY, SESSION, SESSION_SECRET, SecretProbe, WORKSPACE_KEY};
use crate::harness::wait_until;

impl SecretProbe {
    pub(super) async fn probe_workspace(&mut self) {
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

    pub(super) async fn probe_messaging(&mut self) {
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
        wait_until("the change feed has started", async || {
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
            "the token may be valid"
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

    pub(super) async fn probe_modules(&mut self) {
        let listener = self.listeners[0].clone();
        self.secrets.push("s3cret".to_owned());
        for password in ["s3cret".to_owned(), self.invalid_secret()] {
            let identify = json!({"type": "module_identify", "moduleId": "M1", "password": password, "uptime": 5}).to_string();
            self.exchange(&format!("ws://{listener}/esp32"), &[], &[identify])
                .await
                .unwrap();
        }
        self.probe_module_browsers().await;
        self.external.set_behaviour(ServiceBehaviour::Failing);
        let unverified = self.user_token();
        let stats = self.request(
            Method::GET,
            &format!("/api/modules/stats?token={unverified}"),
        );
        assert_eq!(
            self.record_response(stats).await,
            503,
            "the token may be valid"
        );
        self.external.set_behaviour(ServiceBehaviour::Valid);
        self.probe_module_publishers().await;
    }

    /// Socket.IO clients with session cookies and tokens.
    async fn probe_module_browsers(&mut self) {
        let listener = self.listeners[0].clone();
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
    }

    async fn probe_module_publishers(&mut self) {
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

    pub(super) async fn probe_gateway(&mut self) {
        let url = format!(
            "ws://{}/socket.io/?EIO=4&transport=websocket",
            self.listeners[1]
        );
        for behaviour in [
            ServiceBehaviour::Valid,
            ServiceBehaviour::Revoked,
            ServiceBehaviour::Failing,
            ServiceBehaviour::Repeating,
        ] {
            self.external.set_behaviour(behaviour);
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
                let request = self
                    .gateway_request(Method::GET, "/dashboard")
                    .header("x-forwarded-for", "192.0.2.1");
                let is_key = proof.ends_with(GATEWAY_KEY);
                assert_eq!(
                    self.record_response(request.header("authorization", proof))
                        .await
                        == 200,
                    is_key
                );
            }
        }
        self.external.set_behaviour(ServiceBehaviour::Valid);
    }
}
