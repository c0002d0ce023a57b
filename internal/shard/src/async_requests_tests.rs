use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::{Poll, Token, Waker};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::inbox::Inbox;
use crate::simulated::QUEUE_CAPACITY;
use crate::{
    ConnectionKind, PendingRequest, RequestContent, ShardDeps, SimulatedShard, UpgradedConnection,
};
use latido_admission::PermitSet;
use latido_auth::{
    Grants, PermissionFuture, PermissionQuestion, PermissionSource, PermissionSubject,
    PolicyConfig, Principal, VerifierConfig,
};
use latido_base::clock::Clock;
use latido_base::ident::Topic;
use latido_hub::{Hub, WatchObserver};
use latido_session::{SessionContext, SessionLimits};
use latido_stream::{KeyType, Stream};
use latido_telemetry::Metrics;

/// A permission source that counts its requests and never responds.
#[derive(Default)]
struct NeverResponds(AtomicUsize);

impl PermissionSource for NeverResponds {
    fn allowed<'a>(&'a self, _: &'a Stream, _: PermissionQuestion<'a>) -> PermissionFuture<'a> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

struct IgnoreWatches;

impl WatchObserver for IgnoreWatches {
    fn on_watched(&self, _: &Topic) {}
    fn on_unwatched(&self, _: &Topic) {}
}

fn request_handler(lookup: Arc<dyn PermissionSource>) -> RequestHandler {
    let stream = Stream {
        // It takes the claims of a token.
        authorize_query: Some("$3".into()),
        ..Stream::test_stream("estadisticas", Some(KeyType::Integer))
    };
    let verifier = Verifier::new(&VerifierConfig::default(), Clock::system()).unwrap();
    let policy = Policy::new(PolicyConfig::default(), lookup);
    RequestHandler {
        verifier: Arc::new(verifier),
        policy: Arc::new(policy),
        catalog: Arc::new(Catalog::new(vec![stream])),
    }
}

#[tokio::test]
async fn requests_time_out_and_expired_ones_are_not_started() {
    let lookup = Arc::new(NeverResponds::default());
    let handler = request_handler(Arc::clone(&lookup) as Arc<dyn PermissionSource>);
    let (poll, drain) = (Poll::new().unwrap(), Drain::new());
    let inbox = Arc::new(Inbox::new(Arc::new(
        Waker::new(poll.registry(), Token(0)).unwrap(),
    )));
    let request = |number: usize, waited: Duration| {
        let channel = handler
            .catalog
            .resolve(&format!("estadisticas:{number}"))
            .unwrap();
        let subject = PermissionSubject {
            user: UserId::new("ana"),
            claims: None,
        };
        let kind = AsyncRequest::CheckPermission(subject, channel);
        QueuedRequest {
            inbox: Arc::clone(&inbox),
            slot: 0,
            generation: 0,
            queued_at: monotonic_now() - waited,
            request: kind,
        }
    };
    let queue = start_queue(handler.clone(), &drain);
    // More requests than are handled concurrently, all close to their deadline: none waits for the
    // others to finish.
    for number in 0..CONCURRENCY + 10 {
        assert!(
            queue
                .try_send(request(number, RESPONSE_TIMEOUT - Duration::from_secs(2)))
                .is_ok()
        );
    }
    let mut answered = 0;
    while answered < CONCURRENCY + 10 {
        for command in inbox.take() {
            assert!(matches!(
                command,
                ShardCommand::AsyncResponse {
                    response: AsyncResponse::Permission(_, _, PermissionAnswer::Unknown),
                    ..
                }
            ));
            answered += 1;
        }
        tokio::task::yield_now().await;
    }
    let asked = lookup.0.load(Ordering::SeqCst);
    assert!(asked >= CONCURRENCY);
    assert!(queue.try_send(request(1_000, RESPONSE_TIMEOUT)).is_ok());
    while inbox.take().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        lookup.0.load(Ordering::SeqCst),
        asked,
        "an expired request is not started"
    );
    drain.stop();
}

/// A client on a shard of its own.
struct TestClient {
    thread: SimulatedShard,
    socket: UnixStream,
}

impl TestClient {
    fn connect() -> Self {
        let RequestHandler {
            verifier,
            policy,
            catalog,
        } = request_handler(Arc::new(NeverResponds::default()));
        let thread = SimulatedShard::new(ShardDeps {
            hub: Arc::new(Hub::new(Arc::clone(&catalog), Box::new(IgnoreWatches))),
            context: SessionContext {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: SessionLimits::default(),
            },
            request_handler: RequestHandler {
                verifier,
                policy,
                catalog,
            },
            clock: Clock::system(),
            metrics: Arc::new(Metrics::new()),
            drain: Drain::new(),
        });
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let socket = TcpStream::from(OwnedFd::from(server));
        socket.set_nonblocking(true).unwrap();
        let principal = Principal::new(
            UserId::new("ana"),
            i64::MAX,
            None,
            Grants::new(Vec::new(), Vec::new()),
        );
        let permit = PermitSet::new(Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap());
        thread.add_upgraded(UpgradedConnection {
            socket,
            early_bytes: bytes::Bytes::new(),
            kind: ConnectionKind::Native(Arc::new(principal), None),
            permits: permit,
        });
        Self {
            thread,
            socket: client,
        }
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 126);
        self.socket
            .write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat())
            .unwrap();
        assert!(self.thread.run_until_idle());
    }

    fn subscribe(&mut self, number: usize) {
        self.send(&json!({"type": "subscribe", "channel": format!("estadisticas:{number}")}));
    }

    /// Returns all received frames as text: JSON objects, concatenated.
    fn received(&mut self) -> String {
        assert!(self.thread.run_until_idle());
        let mut bytes = Vec::new();
        let end = self
            .socket
            .read_to_end(&mut bytes)
            .map_err(|error| error.kind());
        assert_eq!(end, Err(ErrorKind::WouldBlock), "the connection stays open");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[test]
fn full_permission_queue_is_reported_and_does_not_delay_tokens() {
    let mut client = TestClient::connect();
    (0..QUEUE_CAPACITY).for_each(|number| client.subscribe(number));
    assert_eq!(
        client.received(),
        "",
        "all of them wait for a permission check"
    );
    client.subscribe(QUEUE_CAPACITY);
    let answer = client.received();
    assert!(
        answer.contains(r#""code":"unavailable""#)
            && answer.contains(&format!(r#""channel":"estadisticas:{QUEUE_CAPACITY}""#)),
        "{answer}"
    );
    client.send(&json!({"type": "auth", "data": {"token": "new"}}));
    assert_eq!(client.received(), "");
    let requests: Vec<_> = std::iter::from_fn(|| client.thread.next_request()).collect();
    assert_eq!(requests.len(), QUEUE_CAPACITY + 1);
    for request in requests {
        match request.content() {
            RequestContent::CheckPermission(_, channel) => {
                request.respond_permission(channel, PermissionAnswer::Allowed)
            }
            RequestContent::VerifyToken(token) => {
                assert_eq!(token, "new");
                request.respond_token(Err(ReauthError::Unavailable("later".to_owned())));
            }
        }
    }
    let answer = client.received();
    assert!(
        !answer.contains("unauthorized"),
        "that would make it connect anew: {answer}"
    );
    assert_eq!(answer.matches(r#""code":"unavailable""#).count(), 1);
    assert_eq!(
        answer.matches(r#""type":"subscribed""#).count(),
        QUEUE_CAPACITY,
        "earlier requests still get their response"
    );
    client.subscribe(QUEUE_CAPACITY);
    assert!(
        client.thread.next_request().is_some(),
        "a rejected subscription may be requested again"
    );
}

/// Returns the principal of a token with one more claim.
fn with_tenant(tenant: &str) -> Principal {
    let claims = json!({"sub": "ana", "tenant": tenant});
    let principal = Principal::new(UserId::new("ana"), i64::MAX, None, Grants::default());
    principal.with_claims(claims.as_object().unwrap())
}

/// A check that began before a new token answers for the old one.
#[test]
fn answer_for_an_older_token_decides_nothing() {
    let mut client = TestClient::connect();
    let renew = |client: &mut TestClient, tenant: &str| {
        client.send(&json!({"type": "auth", "data": {"token": tenant}}));
        let request = client.thread.next_request().unwrap();
        request.respond_token(Ok(with_tenant(tenant)));
        client.received()
    };
    renew(&mut client, "norte");
    client.subscribe(1);
    let for_norte = client.thread.next_request().unwrap();
    let answer = renew(&mut client, "sur");
    assert!(answer.contains("authenticated"), "{answer}");
    let for_sur = client.thread.next_request().unwrap();
    let channel = |request: &PendingRequest| match request.content() {
        RequestContent::CheckPermission(_, channel) => channel,
        RequestContent::VerifyToken(_) => panic!("a token"),
    };
    let (first, second) = (channel(&for_norte), channel(&for_sur));
    for_norte.respond_permission(first, PermissionAnswer::Allowed);
    assert_eq!(client.received(), "", "the right of norte");
    for_sur.respond_permission(second.clone(), PermissionAnswer::Forbidden);
    let answer = client.received();
    assert!(
        answer.contains("forbidden") && !answer.contains("subscribed"),
        "{answer}"
    );

    // The other way round, the new token has the right.
    client.subscribe(2);
    let for_sur = client.thread.next_request().unwrap();
    renew(&mut client, "norte");
    let for_norte = client.thread.next_request().unwrap();
    let (first, second) = (channel(&for_sur), channel(&for_norte));
    for_sur.respond_permission(first, PermissionAnswer::Forbidden);
    assert_eq!(client.received(), "");
    for_norte.respond_permission(second, PermissionAnswer::Allowed);
    let answer = client.received();
    assert!(answer.contains(r#""type":"subscribed""#), "{answer}");

    // A role needs no answer, and an older refusal does not end what it grants.
    client.subscribe(3);
    let for_norte = client.thread.next_request().unwrap();
    client.send(&json!({"type": "auth", "data": {"token": "admin"}}));
    let claims = json!({"sub": "ana", "tenant": "norte"});
    let role = Some("admin_sistema");
    let admin = Principal::new(UserId::new("ana"), i64::MAX, role, Grants::default());
    let admin = admin.with_claims(claims.as_object().unwrap());
    client
        .thread
        .next_request()
        .unwrap()
        .respond_token(Ok(admin));
    let answer = client.received();
    assert!(answer.contains(r#""channel":"estadisticas:3""#), "{answer}");
    let refused = channel(&for_norte);
    for_norte.respond_permission(refused, PermissionAnswer::Forbidden);
    assert_eq!(client.received(), "");
}
