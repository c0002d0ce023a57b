//! Tests of the issuer's key set, against a small fake issuer.

use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::{JwksTimings, TokenError, TokenSender, Verifier, VerifierConfig, test_keys};
use latido_base::clock::Clock;

const NEVER: Duration = Duration::from_secs(3600);

/// A fake issuer that answers every request with the text it was given last.
struct FakeKeyIssuer {
    url: String,
    response: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
}

impl FakeKeyIssuer {
    async fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let issuer = Self {
            url,
            response: Arc::new(Mutex::new(answer)),
            requests: Arc::default(),
        };
        let (answer, requests) = (Arc::clone(&issuer.response), Arc::clone(&issuer.requests));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                requests.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        issuer
    }

    fn set_response(&self, answer: String) {
        *self.response.lock().unwrap() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn verifier(&self, cooldown: Duration) -> (Verifier, Drain) {
        let timings = JwksTimings {
            refresh: NEVER,
            cooldown,
        };
        let config = VerifierConfig {
            jwks_url: Some(self.url.clone()),
            jwks_timings: timings,
            ..VerifierConfig::default()
        };
        let (verifier, drain) = (
            Verifier::new(&config, Clock::system()).unwrap(),
            Drain::new(),
        );
        verifier.start(&drain);
        (verifier, drain)
    }
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn key_set_response(published: &[(&str, &str)]) -> String {
    let published: Vec<Value> = published.iter().map(|(kid, pem)| jwk(kid, pem)).collect();
    response("200 OK", "", &json!({"keys": published}).to_string())
}

fn jwk(kid: &str, pem: &str) -> Value {
    let pem = pem.as_bytes();
    let key =
        DecodingKey::from_rsa_pem(pem).unwrap_or_else(|_| DecodingKey::from_ec_pem(pem).unwrap());
    let mut jwk = serde_json::to_value(Jwk::from_decoding_key(&key, None).unwrap()).unwrap();
    jwk["kid"] = kid.into();
    jwk["use"] = "sig".into();
    jwk
}

fn token(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(Into::into);
    jsonwebtoken::encode(
        &header,
        &json!({"id": "ana", "exp": Clock::system().unix_s() + 600}),
        key,
    )
    .unwrap()
}

fn old_key_token(kid: Option<&str>) -> String {
    token(
        Algorithm::RS256,
        kid,
        &EncodingKey::from_rsa_pem(test_keys::RSA.private.as_bytes()).unwrap(),
    )
}

fn new_key_token(kid: Option<&str>) -> String {
    token(
        Algorithm::RS256,
        kid,
        &EncodingKey::from_rsa_pem(test_keys::OTHER_RSA.private.as_bytes()).unwrap(),
    )
}

async fn reason(verifier: &Verifier, token: &str) -> &'static str {
    verifier
        .verify(token, &TokenSender::at(None))
        .await
        .map_or_else(|error| error.reason(), |_| "accepted")
}

#[tokio::test]
async fn first_token_waits_for_the_first_keys() {
    let issuer = FakeKeyIssuer::start(key_set_response(&[("a", test_keys::RSA.public)])).await;
    let (verifier, drain) = issuer.verifier(NEVER);
    assert!(!verifier.is_ready());
    assert!(
        verifier
            .try_verify_cached(&old_key_token(Some("a")))
            .is_none(),
        "the decision needs the key set"
    );
    assert_eq!(
        reason(&verifier, &old_key_token(Some("a"))).await,
        "accepted"
    );
    assert!(verifier.is_ready());
    assert!(
        verifier
            .try_verify_cached(&old_key_token(Some("a")))
            .unwrap()
            .is_ok()
    );
    assert_eq!(
        reason(&verifier, &old_key_token(None)).await,
        "accepted",
        "without an id every key is tried"
    );
    assert_eq!(issuer.requests(), 1);
    assert_eq!(
        drain.drain(Duration::from_secs(5)).await,
        0,
        "the task ends with the server"
    );
}

#[tokio::test]
async fn unknown_key_triggers_a_fetch() {
    let issuer = FakeKeyIssuer::start(key_set_response(&[("a", test_keys::RSA.public)])).await;
    let (verifier, _drain) = issuer.verifier(Duration::ZERO);
    assert_eq!(
        reason(&verifier, &old_key_token(Some("a"))).await,
        "accepted"
    );
    assert_eq!(
        reason(&verifier, &new_key_token(Some("b"))).await,
        "unknown_key"
    );

    issuer.set_response(key_set_response(&[
        ("a", test_keys::RSA.public),
        ("b", test_keys::OTHER_RSA.public),
    ]));
    assert_eq!(
        reason(&verifier, &new_key_token(Some("b"))).await,
        "accepted"
    );
    assert_eq!(
        reason(&verifier, &old_key_token(Some("a"))).await,
        "accepted",
        "both are valid during rotation"
    );

    issuer.set_response(key_set_response(&[("b", test_keys::OTHER_RSA.public)]));
    assert_eq!(
        reason(&verifier, &new_key_token(Some("zzz"))).await,
        "unknown_key",
        "an unknown key id fetches the key set again"
    );
    assert_eq!(
        reason(&verifier, &old_key_token(Some("a"))).await,
        "unknown_key",
        "the old key is gone"
    );
}

#[tokio::test]
async fn invented_key_ids_do_not_overload_the_issuer() {
    let issuer = FakeKeyIssuer::start(key_set_response(&[("a", test_keys::RSA.public)])).await;
    let (verifier, _drain) = issuer.verifier(NEVER);
    assert_eq!(
        reason(&verifier, &old_key_token(Some("a"))).await,
        "accepted"
    );
    for n in 0..9 {
        assert_eq!(
            reason(&verifier, &old_key_token(Some(&format!("invented {n}")))).await,
            "unknown_key"
        );
        assert_eq!(
            reason(&verifier, &new_key_token(Some("a"))).await,
            "signature"
        );
        assert_eq!(reason(&verifier, &new_key_token(None)).await, "signature");
    }
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn waiting_tokens_share_one_fetch() {
    let issuer = FakeKeyIssuer::start(key_set_response(&[("a", test_keys::RSA.public)])).await;
    let (verifier, _drain) = issuer.verifier(NEVER);
    let token = old_key_token(Some("a"));
    let sender = TokenSender::at(None);
    let waiting = (0..20).map(|_| verifier.verify(&token, &sender));
    assert!(
        futures_util::future::join_all(waiting)
            .await
            .iter()
            .all(Result::is_ok)
    );
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn key_verifies_only_its_own_algorithm() {
    let issuer = FakeKeyIssuer::start(key_set_response(&[
        ("a", test_keys::RSA.public),
        ("e", test_keys::P256.public),
    ]))
    .await;
    let (verifier, _drain) = issuer.verifier(NEVER);
    let elliptic = EncodingKey::from_ec_pem(test_keys::P256.private.as_bytes()).unwrap();
    assert_eq!(
        reason(&verifier, &token(Algorithm::ES256, Some("e"), &elliptic)).await,
        "accepted"
    );
    assert_eq!(
        reason(&verifier, &token(Algorithm::ES256, Some("a"), &elliptic)).await,
        "algorithm",
        "an RSA key's id"
    );
    let public = EncodingKey::from_secret(test_keys::RSA.public.as_bytes());
    assert_eq!(
        reason(&verifier, &token(Algorithm::HS256, Some("a"), &public)).await,
        "algorithm"
    );
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn last_good_keys_stay_after_a_failed_fetch() {
    let issuer = FakeKeyIssuer::start(key_set_response(&[("a", test_keys::RSA.public)])).await;
    let (verifier, _drain) = issuer.verifier(Duration::ZERO);
    assert_eq!(
        reason(&verifier, &old_key_token(Some("a"))).await,
        "accepted"
    );
    for (n, answer) in [
        response("500 Oops", "", ""),
        response("200 OK", "", "<html>"),
        response("200 OK", "", r#"{"keys":[]}"#),
        "nonsense".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        issuer.set_response(answer);
        assert_eq!(
            reason(&verifier, &new_key_token(Some("b"))).await,
            "unknown_key"
        );
        assert!(issuer.requests() > n + 1, "the key set was requested");
        assert_eq!(
            reason(&verifier, &old_key_token(Some("a"))).await,
            "accepted"
        );
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let inside = FakeKeyIssuer::start(key_set_response(&[("a", test_keys::RSA.public)])).await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let issuer = FakeKeyIssuer::start(response(
            status,
            &format!("location: {}\r\n", inside.url),
            "",
        ))
        .await;
        let (verifier, _drain) = issuer.verifier(NEVER);
        assert_eq!(
            reason(&verifier, &old_key_token(Some("a"))).await,
            "keys_unavailable",
            "{status}"
        );
    }
    assert_eq!(inside.requests(), 0);
}

#[tokio::test]
async fn oversize_key_set_is_rejected() {
    let padding = " ".repeat(MAX_BYTES);
    let set = json!({"keys": [jwk("a", test_keys::RSA.public)]}).to_string();
    let announced = response("200 OK", "", &format!("{padding}{set}"));
    let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{padding}{set}");
    for answer in [announced, endless] {
        let issuer = FakeKeyIssuer::start(answer).await;
        let (verifier, _drain) = issuer.verifier(NEVER);
        assert_eq!(
            reason(&verifier, &old_key_token(Some("a"))).await,
            "keys_unavailable"
        );
    }
}

#[test]
fn only_safe_urls_are_accepted() {
    for url in [
        "https://id.example/jwks.json?tenant=a",
        "https://10.0.0.1/keys",
        "http://127.0.0.1:8081/keys",
        "http://[::1]/keys",
        "http://localhost:3000/keys",
    ] {
        assert_eq!(crate::check_url(url), Ok(()), "{url}");
    }
    for url in [
        "",
        "keys.json",
        "http://id.example/keys",
        "http://169.254.169.254/latest",
        "http://localhost.example/keys",
        "http://127.0.0.1.example/keys",
        "https://user:pass@id.example/keys",
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
    ] {
        assert_eq!(crate::check_url(url), Err(KeyError::IssuerUrl), "{url}");
    }
}

#[tokio::test]
async fn same_key_id_at_two_issuers_means_two_keys() {
    let one = FakeKeyIssuer::start(key_set_response(&[("a", test_keys::RSA.public)])).await;
    let two = FakeKeyIssuer::start(key_set_response(&[("a", test_keys::OTHER_RSA.public)])).await;
    let ((first, _drain), (second, _also)) =
        (one.verifier(Duration::ZERO), two.verifier(Duration::ZERO));
    for _ in 0..2 {
        assert_eq!(
            (
                reason(&first, &old_key_token(Some("a"))).await,
                reason(&second, &new_key_token(Some("a"))).await
            ),
            ("accepted", "accepted")
        );
        assert_eq!(
            (
                reason(&first, &new_key_token(Some("a"))).await,
                reason(&second, &old_key_token(Some("a"))).await
            ),
            ("signature", "signature")
        );
    }
}

#[tokio::test]
async fn few_keys_are_tried_for_a_token_that_names_none() {
    let old = test_keys::RSA.public;
    let published = [old, old, old, old, test_keys::OTHER_RSA.public];
    let named: Vec<_> = ["a", "b", "c", "d", "e"]
        .into_iter()
        .zip(published)
        .collect();
    let issuer = FakeKeyIssuer::start(key_set_response(&named)).await;
    let (verifier, _drain) = issuer.verifier(NEVER);
    assert_eq!(reason(&verifier, &old_key_token(None)).await, "accepted");
    assert_eq!(
        reason(&verifier, &new_key_token(Some("e"))).await,
        "accepted"
    );
    assert_eq!(reason(&verifier, &new_key_token(None)).await, "signature");
}

#[tokio::test]
async fn invalid_tokens_that_name_no_key_are_limited_by_sender() {
    let named = [("a", test_keys::RSA.public), ("b", test_keys::RSA.public)];
    let issuer = FakeKeyIssuer::start(key_set_response(&named)).await;
    let (verifier, _drain) = issuer.verifier(NEVER);
    let sender = TokenSender::at("198.51.100.7".parse().ok());
    let (valid, invalid) = (old_key_token(None), new_key_token(None));
    assert!(verifier.verify(&valid, &sender).await.is_ok());
    let at_once = (0..100).map(|_| verifier.verify(&invalid, &sender));
    let results = futures_util::future::join_all(at_once).await;
    let is_checked = |result: &&Result<_, TokenError>| {
        result.as_ref().err() != Some(&TokenError::TooManyInvalid)
    };
    let checked = results.iter().filter(is_checked).count();
    assert!((10..40).contains(&checked), "{checked}");
    let limited = verifier.verify(&valid, &sender).await;
    assert_eq!(limited.err(), Some(TokenError::TooManyInvalid));

    let own_keys = VerifierConfig {
        public_keys: Some(test_keys::RSA.public.repeat(2)),
        ..VerifierConfig::default()
    };
    let of_app = Verifier::new(&own_keys, Clock::system()).unwrap();
    assert!(of_app.verify(&valid, &sender).await.is_ok());
    let of_app = of_app.with_limit_of(&verifier);
    let limited = of_app.verify(&valid, &sender).await;
    assert_eq!(limited.err(), Some(TokenError::TooManyInvalid));

    // Other senders, and tokens that cost one signature or none, are checked.
    assert_eq!(reason(&verifier, &valid).await, "accepted");
    let cheap = [
        (old_key_token(Some("a")), None),
        (new_key_token(Some("b")), Some("signature")),
        ("junk".to_owned(), Some("malformed")),
    ];
    for (token, expected) in cheap {
        let refused = verifier.verify(&token, &sender).await.err();
        assert_eq!(refused.map(|error| error.reason()), expected, "{token}");
    }
}

#[tokio::test]
async fn endless_response_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = VerifierConfig {
        jwks_url: Some(format!("http://{}/keys", listener.local_addr().unwrap())),
        ..VerifierConfig::default()
    };
    let (verifier, drain) = (
        Verifier::new(&config, Clock::system()).unwrap(),
        Drain::new(),
    );
    verifier.start(&drain);
    let silent = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    };
    let (token, sender) = (old_key_token(Some("a")), TokenSender::at(None));
    let refused = tokio::select! {
        () = silent => unreachable!("it hangs"),
        refused = verifier.verify(&token, &sender) => refused,
    };
    assert_eq!(refused, Err(TokenError::KeysUnavailable));
}
