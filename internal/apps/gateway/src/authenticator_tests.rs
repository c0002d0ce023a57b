use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::*;

/// A profile source with a fixed answer that is held back until a permit is added.
struct FakeProfileSource {
    answer: Mutex<Result<Option<UserProfile>, DjangoError>>,
    requests: AtomicUsize,
    response_permits: Arc<Semaphore>,
}

impl ProfileSource for FakeProfileSource {
    fn profile(&self, _: String) -> BoxFuture<'static, Result<Option<UserProfile>, DjangoError>> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let (answer, gate) = (
            self.answer.lock().unwrap().clone(),
            Arc::clone(&self.response_permits),
        );
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            answer
        })
    }

    fn probe(&self) -> BoxFuture<'static, Result<(), DjangoError>> {
        Box::pin(async { Err(DjangoError::Status(500)) })
    }
}

fn profile(id: &str, role: Option<Role>) -> UserProfile {
    UserProfile {
        id: id.into(),
        role,
    }
}

fn claim(id: &str, role: &str) -> IdentityClaim {
    IdentityClaim {
        id: Some(id.into()),
        role: Role::parse(role),
    }
}

fn authenticator(
    answer: Result<Option<UserProfile>, DjangoError>,
    open: usize,
) -> (Authenticator, Arc<FakeProfileSource>) {
    let gate = Arc::new(Semaphore::new(open));
    let fake = Arc::new(FakeProfileSource {
        answer: Mutex::new(answer),
        requests: AtomicUsize::new(0),
        response_permits: gate,
    });
    let config = Config {
        admin_ids: vec!["1".into()],
        ..Config::default()
    };
    (
        Authenticator::new(&config, Some(fake.clone()), &Clock::system(), &Drain::new()),
        fake,
    )
}

#[test]
fn claim_is_only_compared_with_profile() {
    let admins = HashSet::from(["1".to_owned()]);
    let cliente = profile("7", Some(Role::Cliente));
    let role = |profile: &UserProfile, claim: &IdentityClaim| {
        check_claim(profile, claim, &admins).map(|user| user.role)
    };
    assert_eq!(role(&cliente, &claim("7", "cliente")), Ok(Role::Cliente));
    assert_eq!(role(&cliente, &IdentityClaim::default()), Ok(Role::Cliente));
    for wrong in [
        claim("8", "cliente"),
        claim("7", "proveedor"),
        claim("7", "admin"),
    ] {
        assert_eq!(role(&cliente, &wrong), Err(AuthError::Invalid), "{wrong:?}");
    }
    let boss = profile("1", None);
    assert_eq!(role(&boss, &claim("1", "admin")), Ok(Role::Admin));
    assert_eq!(role(&boss, &IdentityClaim::default()), Ok(Role::Admin));
    assert_eq!(role(&boss, &claim("1", "cliente")), Err(AuthError::Invalid));
    assert_eq!(
        role(&profile("9", None), &IdentityClaim::default()),
        Err(AuthError::Invalid)
    );
}

#[tokio::test]
async fn same_token_is_requested_once() {
    let (authenticator, fake) = authenticator(Ok(Some(profile("7", Some(Role::Cliente)))), 0);
    let first = claim("7", "cliente");
    let all =
        futures_util::future::join_all((0..50).map(|_| authenticator.authenticate("t", &first)));
    let (results, ()) = tokio::join!(all, async { fake.response_permits.add_permits(1) });
    assert!(results.iter().all(Result::is_ok));
    assert!(
        authenticator.authenticate("t", &first).await.is_ok(),
        "from the cache"
    );
    assert_eq!(fake.requests.load(Ordering::SeqCst), 1);
    assert_eq!(
        authenticator
            .authenticate("t", &claim("8", "cliente"))
            .await,
        Err(AuthError::Invalid),
        "another client's claim is still refused"
    );
}

#[tokio::test]
async fn request_continues_without_its_waiter() {
    let (authenticator, fake) = authenticator(Ok(Some(profile("7", Some(Role::Cliente)))), 0);
    let claimed = claim("7", "cliente");
    let impatient = tokio::time::timeout(
        Duration::from_millis(1),
        authenticator.authenticate("t", &claimed),
    )
    .await;
    assert!(impatient.is_err());
    fake.response_permits.add_permits(1);
    assert!(authenticator.authenticate("t", &claimed).await.is_ok());
    assert_eq!(fake.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn rejections_are_cached_but_failures_are_not() {
    let (authenticator, fake) = authenticator(Ok(None), 100);
    for _ in 0..3 {
        assert_eq!(
            authenticator
                .authenticate("t", &IdentityClaim::default())
                .await,
            Err(AuthError::Invalid)
        );
    }
    assert_eq!(fake.requests.load(Ordering::SeqCst), 1);
    *fake.answer.lock().unwrap() = Err(DjangoError::InvalidProfile);
    for _ in 0..3 {
        assert_eq!(
            authenticator
                .authenticate("u", &IdentityClaim::default())
                .await,
            Err(AuthError::Unavailable)
        );
    }
    assert_eq!(fake.requests.load(Ordering::SeqCst), 4);
    assert_eq!(
        authenticator.api_state().await.unwrap().error.as_deref(),
        Some("answered with something that is no profile")
    );
}

#[tokio::test]
async fn requests_stop_while_api_is_down() {
    let (authenticator, fake) = authenticator(Err(DjangoError::Status(500)), 1000);
    for n in 0..20 {
        assert_eq!(
            authenticator
                .authenticate(&format!("t{n}"), &IdentityClaim::default())
                .await,
            Err(AuthError::Unavailable)
        );
    }
    assert_eq!(fake.requests.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn concurrent_requests_are_bounded() {
    let (authenticator, fake) = authenticator(Ok(None), 0);
    let all = futures_util::future::join_all((0..MAX_IN_FLIGHT + 10).map(|n| {
        let authenticator = authenticator.clone();
        async move {
            authenticator
                .authenticate(&format!("t{n}"), &IdentityClaim::default())
                .await
        }
    }));
    let checks = async {
        tokio::task::yield_now().await;
        assert!(fake.requests.load(Ordering::SeqCst) <= CONCURRENCY);
        fake.response_permits.add_permits(MAX_IN_FLIGHT);
    };
    let (results, ()) = tokio::join!(all, checks);
    assert_eq!(
        results
            .iter()
            .filter(|result| **result == Err(AuthError::Unavailable))
            .count(),
        10
    );
    assert_eq!(
        authenticator
            .authenticate(&"x".repeat(MAX_TOKEN_BYTES + 1), &IdentityClaim::default())
            .await,
        Err(AuthError::Invalid)
    );
}

#[tokio::test]
async fn trusted_clients_cannot_claim_to_be_administrators() {
    let config = Config {
        admin_ids: vec!["1".into()],
        trusts_clients: true,
        ..Config::default()
    };
    let authenticator = Authenticator::new(&config, None, &Clock::system(), &Drain::new());
    assert_eq!(
        authenticator
            .authenticate("", &claim("7", "cliente"))
            .await
            .map(|user| user.role),
        Ok(Role::Cliente)
    );
    assert_eq!(
        authenticator.authenticate("", &claim("7", "admin")).await,
        Err(AuthError::Invalid)
    );
    assert_eq!(
        authenticator
            .authenticate("", &claim("1", "admin"))
            .await
            .map(|user| user.role),
        Ok(Role::Admin)
    );
    assert_eq!(
        authenticator
            .authenticate("", &IdentityClaim::default())
            .await,
        Err(AuthError::Invalid)
    );
}
