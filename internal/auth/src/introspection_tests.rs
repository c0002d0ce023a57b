use std::sync::atomic::AtomicUsize;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::{Principal, TokenSender, TokenSpec, Verifier, VerifierConfig, issue, test_keys};
use latido_base::clock::Clock;

const SECRET: &str = "a secret for tests only, of more than 32 bytes";

/// A fake issuer that sends one configured response.
struct FakeIntrospectionIssuer {
    address: std::net::SocketAddr,
    response: Arc<Mutex<String>>,
    query_count: Arc<AtomicUsize>,
    last_request: Arc<Mutex<String>>,
}

impl FakeIntrospectionIssuer {
    async fn responding_with(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            address: listener.local_addr().unwrap(),
            response: Arc::new(Mutex::new(response("200 OK", answer))),
            query_count: Arc::default(),
            last_request: Arc::default(),
        };
        let (answer, questions, last) = (
            Arc::clone(&issuer.response),
            Arc::clone(&issuer.query_count),
            Arc::clone(&issuer.last_request),
        );
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut received = Vec::new();
                while !String::from_utf8_lossy(&received).ends_with("\"}")
                    && socket.read_buf(&mut received).await.is_ok_and(|n| n > 0)
                {}
                questions.fetch_add(1, Ordering::SeqCst);
                *last.lock().unwrap() = String::from_utf8_lossy(&received).into_owned();
                let answer = answer.lock().unwrap().clone();
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        issuer
    }

    fn set_response(&self, answer: String) {
        *self.response.lock().unwrap() = answer;
    }

    fn query_count(&self) -> usize {
        self.query_count.load(Ordering::SeqCst)
    }

    fn verifier(&self, every: Duration, fails_open: bool) -> (Verifier, Drain) {
        self.verifier_with(every, fails_open, VerifierConfig::default())
    }

    fn verifier_with(
        &self,
        every: Duration,
        fails_open: bool,
        config: VerifierConfig,
    ) -> (Verifier, Drain) {
        let url = Secret::new(format!("http://{}/introspect", self.address));
        let config = VerifierConfig {
            secrets: vec![Secret::new(SECRET)],
            introspection: Some(IntrospectionConfig {
                url,
                interval: every,
                fails_open,
            }),
            ..config
        };
        let (verifier, drain) = (
            Verifier::new(&config, Clock::system()).unwrap(),
            Drain::new(),
        );
        verifier.start(&drain);
        (verifier, drain)
    }
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn token() -> String {
    let spec = TokenSpec {
        user: "u1".into(),
        ..TokenSpec::default()
    };
    issue(
        &Secret::new(SECRET),
        &spec,
        &Clock::system(),
        Duration::from_secs(600),
    )
    .unwrap()
}

async fn reason(verifier: &Verifier, token: &str) -> &'static str {
    verifier
        .verify(token, &TokenSender::at(None))
        .await
        .map_or_else(|error| error.reason(), |_| "accepted")
}

async fn wait_until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting)
        .await
        .expect("completes before the timeout");
}

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn issuer_is_queried_once_for_a_valid_token_and_never_for_an_invalid_one() {
    let issuer = FakeIntrospectionIssuer::responding_with(r#"{"valid":true}"#).await;
    let (verifier, _drain) = issuer.verifier(HOUR, false);
    let token = token();
    assert!(
        verifier.try_verify(&token).is_none() && verifier.try_verify_cached(&token).is_none(),
        "the issuer must be queried"
    );
    assert_eq!(reason(&verifier, &token).await, "accepted");
    assert!(
        verifier
            .try_verify(&token)
            .unwrap()
            .unwrap()
            .may_be_revoked()
    );
    assert_eq!(
        (reason(&verifier, &token).await, issuer.query_count()),
        ("accepted", 1)
    );
    assert!(
        issuer
            .last_request
            .lock()
            .unwrap()
            .ends_with(&format!("{{\"token\":\"{token}\"}}"))
    );
    assert_eq!(
        (
            reason(&verifier, &format!("{token}x")).await,
            issuer.query_count()
        ),
        ("signature", 1),
        "an invalid signature causes no query"
    );
}

#[tokio::test]
async fn revoked_token_is_rejected() {
    for answer in [r#"{"valid":false}"#, r#"{"active":false,"sub":"u1"}"#] {
        let issuer = FakeIntrospectionIssuer::responding_with(answer).await;
        let (verifier, _drain) = issuer.verifier(HOUR, true);
        assert_eq!(reason(&verifier, &token()).await, "revoked");
        assert_eq!(
            verifier.try_verify(&token()).map(|known| known.is_ok()),
            Some(false),
            "the response is cached"
        );
    }
}

/// The order of the curve P-256 (SEC 2 §2.4.2).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Replaces `s` of an ES256 signature by `order - s`, which is valid as well.
fn with_other_signature(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for (byte, order) in signature[32..].iter_mut().zip(P256_ORDER).rev() {
        let difference = i16::from(order) - i16::from(*byte) - borrow;
        borrow = i16::from(difference < 0);
        *byte = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn revoked_token_with_another_valid_signature_stays_revoked() {
    let issuer = FakeIntrospectionIssuer::responding_with(r#"{"valid":false}"#).await;
    let keys = VerifierConfig {
        public_keys: Some(test_keys::P256.public.into()),
        ..VerifierConfig::default()
    };
    let (verifier, _drain) = issuer.verifier_with(HOUR, false, keys);
    let claims = serde_json::json!({"id": "u1", "exp": Clock::system().unix_s() + 600});
    let key = EncodingKey::from_ec_pem(test_keys::P256.private.as_bytes()).unwrap();
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
    assert_eq!(reason(&verifier, &token).await, "revoked");
    issuer.set_response(response("200 OK", r#"{"valid":true}"#));
    let other = with_other_signature(&token);
    assert_ne!(token, other);
    assert_eq!(reason(&verifier, &other).await, "revoked");
    assert_eq!(issuer.query_count(), 1, "the answer is cached for both");
}

#[tokio::test]
async fn missing_response_is_handled_as_configured() {
    let issuer = FakeIntrospectionIssuer::responding_with("").await;
    let answers = [
        response("500 Oh", r#"{"valid":true}"#),
        response("302 Found", r#"{"valid":true}"#),
        response("200 OK", "yes"),
        response("200 OK", r#"{"valid":"true"}"#),
        response(
            "200 OK",
            &format!(r#"{{"valid":true,"x":"{}"}}"#, "x".repeat(MAX_BYTES)),
        ),
        String::new(),
    ];
    for answer in answers {
        issuer.set_response(answer.clone());
        for (fails_open, expected) in [(false, "unconfirmed"), (true, "accepted")] {
            let (verifier, _drain) = issuer.verifier(HOUR, fails_open);
            assert_eq!(
                reason(&verifier, &token()).await,
                expected,
                "{}",
                &answer[..answer.len().min(99)]
            );
        }
    }
}

#[tokio::test]
async fn token_in_use_is_rechecked_and_ends_when_revoked() {
    let issuer = FakeIntrospectionIssuer::responding_with(r#"{"valid":true}"#).await;
    let (verifier, _drain) = issuer.verifier(SHORT, false);
    let (token, sender) = (token(), TokenSender::at(None));
    let (one, two): (Principal, Principal) = (
        verifier.verify(&token, &sender).await.unwrap(),
        verifier.verify(&token, &sender).await.unwrap(),
    );
    wait_until(|| issuer.query_count() >= 4).await;
    assert!(!one.is_revoked());
    issuer.set_response(response("200 OK", r#"{"valid":false}"#));
    wait_until(|| one.is_revoked() && two.is_revoked()).await;
    let asked = issuer.query_count();
    assert_eq!(reason(&verifier, &token).await, "revoked");
    assert!(issuer.query_count() <= asked + 1);
}

#[tokio::test]
async fn unreachable_issuer_revokes_tokens_in_use_unless_failing_open() {
    for fails_open in [false, true] {
        let issuer = FakeIntrospectionIssuer::responding_with(r#"{"valid":true}"#).await;
        let (verifier, _drain) = issuer.verifier(SHORT, fails_open);
        let principal = verifier
            .verify(&token(), &TokenSender::at(None))
            .await
            .unwrap();
        issuer.set_response(response("503 Down", ""));
        if fails_open {
            let asked = issuer.query_count();
            wait_until(|| issuer.query_count() >= asked + 6).await;
            assert!(!principal.is_revoked());
        } else {
            wait_until(|| principal.is_revoked()).await;
        }
    }
}

#[tokio::test]
async fn unused_token_is_not_rechecked() {
    let issuer = FakeIntrospectionIssuer::responding_with(r#"{"valid":true}"#).await;
    let (verifier, _drain) = issuer.verifier(SHORT, false);
    drop(
        verifier
            .verify(&token(), &TokenSender::at(None))
            .await
            .unwrap(),
    );
    // A query may still be on its way, so the quiet time may begin later.
    let quiet = async {
        loop {
            let asked = issuer.query_count();
            tokio::time::sleep(SHORT * 8).await;
            if issuer.query_count() == asked {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), quiet)
        .await
        .expect("the queries end");
}

#[test]
fn debug_output_hides_the_url() {
    let url = Secret::new("https://issuer.example/introspect?key=hidden");
    let config = IntrospectionConfig {
        url,
        interval: HOUR,
        fails_open: false,
    };
    let introspector = Introspector::new(&config);
    assert!(!format!("{config:?} {introspector:?}").contains("hidden"));
    for bad in [
        "http://issuer.example/",
        "ftp://127.0.0.1/",
        "https://u:p@issuer.example/",
        "x",
    ] {
        assert!(
            Introspector::new(&IntrospectionConfig {
                url: Secret::new(bad),
                ..config.clone()
            })
            .is_err(),
            "{bad}"
        );
    }
}
