use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::*;

/// A profile source with a fixed answer that is held back until a permit is added.
struct Fake {
    answer: Mutex<Result<Option<Profile>, ApiError>>,
    asked: AtomicUsize,
    gate: Arc<Semaphore>,
}

impl Profiles for Fake {
    fn profile(&self, _: String) -> BoxFuture<'static, Result<Option<Profile>, ApiError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (answer, gate) = (self.answer.lock().unwrap().clone(), Arc::clone(&self.gate));
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            answer
        })
    }

    fn probe(&self) -> BoxFuture<'static, Result<(), ApiError>> {
        Box::pin(async { Err(ApiError::Status(500)) })
    }
}

fn profile(id: &str, role: Option<Role>) -> Profile {
    Profile {
        id: id.into(),
        role,
    }
}

fn claim(id: &str, role: &str) -> Claim {
    Claim {
        id: Some(id.into()),
        role: Role::parse(role),
    }
}

fn authenticator(
    answer: Result<Option<Profile>, ApiError>,
    open: usize,
) -> (Doorkeeper, Arc<Fake>) {
    let gate = Arc::new(Semaphore::new(open));
    let fake = Arc::new(Fake {
        answer: Mutex::new(answer),
        asked: AtomicUsize::new(0),
        gate,
    });
    let config = Config {
        admin_ids: vec!["1".into()],
        ..Config::default()
    };
    (
        Doorkeeper::new(&config, Some(fake.clone()), &Clock::system(), &Drain::new()),
        fake,
    )
}

#[test]
fn claim_is_only_compared_with_profile() {
    let admins = HashSet::from(["1".to_owned()]);
    let cliente = profile("7", Some(Role::Cliente));
    let role =
        |profile: &Profile, claim: &Claim| judge(profile, claim, &admins).map(|user| user.role);
    assert_eq!(role(&cliente, &claim("7", "cliente")), Ok(Role::Cliente));
    assert_eq!(role(&cliente, &Claim::default()), Ok(Role::Cliente));
    for wrong in [
        claim("8", "cliente"),
        claim("7", "proveedor"),
        claim("7", "admin"),
    ] {
        assert_eq!(role(&cliente, &wrong), Err(Refused::Invalid), "{wrong:?}");
    }
    let boss = profile("1", None);
    assert_eq!(role(&boss, &claim("1", "admin")), Ok(Role::Admin));
    assert_eq!(role(&boss, &Claim::default()), Ok(Role::Admin));
    assert_eq!(role(&boss, &claim("1", "cliente")), Err(Refused::Invalid));
    assert_eq!(
        role(&profile("9", None), &Claim::default()),
        Err(Refused::Invalid)
    );
}

#[tokio::test]
async fn same_token_is_requested_once() {
    let (authenticator, fake) = authenticator(Ok(Some(profile("7", Some(Role::Cliente)))), 0);
    let first = claim("7", "cliente");
    let all = futures_util::future::join_all((0..50).map(|_| authenticator.admit("t", &first)));
    let (results, ()) = tokio::join!(all, async { fake.gate.add_permits(1) });
    assert!(results.iter().all(Result::is_ok));
    assert!(
        authenticator.admit("t", &first).await.is_ok(),
        "from the cache"
    );
    assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
    assert_eq!(
        authenticator.admit("t", &claim("8", "cliente")).await,
        Err(Refused::Invalid),
        "another client's claim is still refused"
    );
}

#[tokio::test]
async fn request_continues_without_its_waiter() {
    let (authenticator, fake) = authenticator(Ok(Some(profile("7", Some(Role::Cliente)))), 0);
    let claimed = claim("7", "cliente");
    let impatient =
        tokio::time::timeout(Duration::from_millis(1), authenticator.admit("t", &claimed)).await;
    assert!(impatient.is_err());
    fake.gate.add_permits(1);
    assert!(authenticator.admit("t", &claimed).await.is_ok());
    assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn rejections_are_cached_but_failures_are_not() {
    let (authenticator, fake) = authenticator(Ok(None), 100);
    for _ in 0..3 {
        assert_eq!(
            authenticator.admit("t", &Claim::default()).await,
            Err(Refused::Invalid)
        );
    }
    assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
    *fake.answer.lock().unwrap() = Err(ApiError::NoProfile);
    for _ in 0..3 {
        assert_eq!(
            authenticator.admit("u", &Claim::default()).await,
            Err(Refused::Unavailable)
        );
    }
    assert_eq!(fake.asked.load(Ordering::SeqCst), 4);
    assert_eq!(
        authenticator.api_state().await.unwrap().error.as_deref(),
        Some("answered with something that is no profile")
    );
}

#[tokio::test]
async fn requests_stop_while_api_is_down() {
    let (authenticator, fake) = authenticator(Err(ApiError::Status(500)), 1000);
    for n in 0..20 {
        assert_eq!(
            authenticator
                .admit(&format!("t{n}"), &Claim::default())
                .await,
            Err(Refused::Unavailable)
        );
    }
    assert_eq!(fake.asked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn concurrent_requests_are_bounded() {
    let (authenticator, fake) = authenticator(Ok(None), 0);
    let all = futures_util::future::join_all((0..FLIGHTS + 10).map(|n| {
        let authenticator = authenticator.clone();
        async move {
            authenticator
                .admit(&format!("t{n}"), &Claim::default())
                .await
        }
    }));
    let checks = async {
        tokio::task::yield_now().await;
        assert!(fake.asked.load(Ordering::SeqCst) <= ASKING);
        fake.gate.add_permits(FLIGHTS);
    };
    let (results, ()) = tokio::join!(all, checks);
    assert_eq!(
        results
            .iter()
            .filter(|result| **result == Err(Refused::Unavailable))
            .count(),
        10
    );
    assert_eq!(
        authenticator
            .admit(&"x".repeat(MAX_TOKEN + 1), &Claim::default())
            .await,
        Err(Refused::Invalid)
    );
}

#[tokio::test]
async fn trusted_clients_cannot_claim_to_be_administrators() {
    let config = Config {
        admin_ids: vec!["1".into()],
        trusts_clients: true,
        ..Config::default()
    };
    let authenticator = Doorkeeper::new(&config, None, &Clock::system(), &Drain::new());
    assert_eq!(
        authenticator
            .admit("", &claim("7", "cliente"))
            .await
            .map(|user| user.role),
        Ok(Role::Cliente)
    );
    assert_eq!(
        authenticator.admit("", &claim("7", "admin")).await,
        Err(Refused::Invalid)
    );
    assert_eq!(
        authenticator
            .admit("", &claim("1", "admin"))
            .await
            .map(|user| user.role),
        Ok(Role::Admin)
    );
    assert_eq!(
        authenticator.admit("", &Claim::default()).await,
        Err(Refused::Invalid)
    );
}
