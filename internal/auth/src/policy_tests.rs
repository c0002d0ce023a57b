use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::Grants;
use latido_base::ident::{Key, StreamId, UserId};
use latido_stream::{KeyType, PermissionFuture, PermissionQuestion, ZoneRule};

/// A fake database that grants even keys to everyone, once it may respond.
#[derive(Default)]
struct FakePermissionSource {
    query_count: AtomicUsize,
    is_down: std::sync::atomic::AtomicBool,
    /// The number of responses it may give.
    response_permits: Option<Semaphore>,
}

impl PermissionSource for FakePermissionSource {
    fn allowed<'a>(
        &'a self,
        _: &'a Stream,
        question: PermissionQuestion<'a>,
    ) -> PermissionFuture<'a> {
        Box::pin(async move {
            self.query_count.fetch_add(1, Ordering::SeqCst);
            if let Some(gate) = &self.response_permits {
                gate.acquire().await.unwrap().forget();
            }
            if self.is_down.load(Ordering::SeqCst) {
                return Err(PermissionLookupError::Unavailable("away".into()));
            }
            Ok(question.key.as_str().parse::<i64>().unwrap() % 2 == 0)
        })
    }
}

fn stream(name: &str, key_field: &str, key_type: KeyType, authorize: Option<&str>) -> Stream {
    Stream {
        name: name.into(),
        query: String::new(),
        verification: None,
        history_query: None,
        authorize_query: authorize.map(Into::into),
        zone_rule: ZoneRule::Fixed("UTC".into()),
        event: "stats".into(),
        key_fields: vec![key_field.into()],
        params: Vec::new(),
        interval: None,
        tables: Vec::new(),
        key_types: OnceLock::from(vec![key_type]),
        inference: Default::default(),
        revision: 0,
    }
}

fn catalog() -> Catalog {
    Catalog::new(vec![
        stream("asked", "negocio_id", KeyType::Integer, Some("select")),
        stream("claimed", "negocio_id", KeyType::Integer, None),
        stream("zones", "zona", KeyType::Text, None),
    ])
}

fn principal(role: Option<&str>, keys: &[(&str, &[&str])], channels: &[&str]) -> Principal {
    let keys = keys
        .iter()
        .map(|(field, keys)| {
            (
                (*field).into(),
                keys.iter().map(ToString::to_string).collect(),
            )
        })
        .collect();
    let grants = Grants::new(keys, channels.iter().map(ToString::to_string).collect());
    Principal::new(UserId::new("ana"), 0, role, grants)
}

fn ana() -> PermissionSubject {
    PermissionSubject {
        user: UserId::new("ana"),
        claims: None,
    }
}

fn policy(database: &Arc<FakePermissionSource>) -> Policy {
    let config = Config {
        admin_roles: vec!["admin".into()],
        ..Config::default()
    };
    Policy::new(config, Arc::clone(database) as Arc<dyn PermissionSource>)
}

fn topic(key: i64) -> Topic {
    Topic {
        stream: StreamId(0),
        key: Key::from_canonical(&key.to_string()),
    }
}

#[test]
fn claims_and_roles_decide_without_the_database() {
    let (catalog, policy) = (catalog(), policy(&Arc::default()));
    let decide = |principal: &Principal, name: &str| {
        policy.decide(principal, &catalog, &catalog.resolve(name).unwrap())
    };
    let no_grants = principal(None, &[], &[]);
    assert_eq!(decide(&no_grants, "asked:1"), Decision::NeedsLookup);
    assert_eq!(
        decide(&no_grants, "claimed:1"),
        Decision::Forbidden,
        "no query: claims and roles alone"
    );

    let admin = principal(Some("admin"), &[], &[]);
    assert_eq!(
        (decide(&admin, "asked:1"), decide(&admin, "zones:n")),
        (Decision::Allowed, Decision::Allowed)
    );
    assert_eq!(
        decide(&principal(Some("Admin"), &[], &[]), "claimed:1"),
        Decision::Forbidden
    );

    let owner = principal(
        None,
        &[("negocio_id", &["negocio_7", "008", "no key"])],
        &["zones:norte", "nonsense"],
    );
    for (name, decision) in [
        ("asked:7", Decision::Allowed),
        ("claimed:negocio_07", Decision::Allowed),
        ("claimed:8", Decision::Allowed),
        ("asked:9", Decision::NeedsLookup),
        ("claimed:9", Decision::Forbidden),
        ("zones:7", Decision::Forbidden),
        ("zones:norte", Decision::Allowed),
        ("zones:Norte", Decision::Forbidden),
    ] {
        assert_eq!(decide(&owner, name), decision, "{name}");
    }
    let alias = principal(None, &[], &["claimed:negocio_7"]);
    assert_eq!(
        (decide(&alias, "claimed:7"), decide(&alias, "asked:7")),
        (Decision::Allowed, Decision::NeedsLookup)
    );
}

#[test]
fn unknown_key_type_grants_nothing() {
    let typed = catalog();
    let untyped = Catalog::new(vec![Stream {
        key_types: OnceLock::new(),
        ..stream("asked", "negocio_id", KeyType::Text, None)
    }]);
    let owner = principal(None, &[("negocio_id", &["7"])], &["asked:7"]);
    let channel = typed.resolve("asked:7").unwrap();
    assert_eq!(
        policy(&Arc::default()).decide(&owner, &untyped, &channel),
        Decision::Forbidden
    );
}

#[tokio::test]
async fn both_answers_are_cached() {
    let (catalog, database) = (catalog(), Arc::<FakePermissionSource>::default());
    let (policy, user) = (policy(&database), principal(None, &[], &[]));
    let stream = catalog.get(StreamId(0));
    for (key, is_allowed, decision) in [
        (2, true, Decision::Allowed),
        (3, false, Decision::Forbidden),
    ] {
        for _ in 0..3 {
            assert_eq!(
                policy
                    .authorize(&user.subject(stream), stream, &topic(key))
                    .await,
                Ok(is_allowed)
            );
        }
        assert_eq!(
            policy.decide(
                &user,
                &catalog,
                &catalog.resolve(&format!("asked:{key}")).unwrap()
            ),
            decision
        );
    }
    assert_eq!(database.query_count.load(Ordering::SeqCst), 2);
    let other = Principal::new(UserId::new("eva"), 0, None, Grants::default());
    assert_eq!(
        policy.decide(&other, &catalog, &catalog.resolve("asked:2").unwrap()),
        Decision::NeedsLookup,
        "another user's result"
    );
}

#[tokio::test]
async fn error_is_not_cached() {
    let (catalog, database) = (catalog(), Arc::<FakePermissionSource>::default());
    let (policy, user) = (policy(&database), ana());
    database.is_down.store(true, Ordering::SeqCst);
    assert!(
        policy
            .authorize(&user, catalog.get(StreamId(0)), &topic(2))
            .await
            .is_err()
    );
    database.is_down.store(false, Ordering::SeqCst);
    assert_eq!(
        policy
            .authorize(&user, catalog.get(StreamId(0)), &topic(2))
            .await,
        Ok(true)
    );
}

#[tokio::test]
async fn stream_without_a_query_needs_no_lookup() {
    let (catalog, database) = (catalog(), Arc::<FakePermissionSource>::default());
    let topic = Topic {
        stream: StreamId(1),
        key: Key::from_canonical("2"),
    };
    assert_eq!(
        policy(&database)
            .authorize(&ana(), catalog.get(StreamId(1)), &topic)
            .await,
        Ok(false)
    );
    assert_eq!(database.query_count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn concurrent_lookups_share_one_query() {
    let catalog = catalog();
    let database = Arc::new(FakePermissionSource {
        response_permits: Some(Semaphore::new(0)),
        ..FakePermissionSource::default()
    });
    let (policy, user, stream) = (policy(&database), ana(), catalog.get(StreamId(0)));
    let question = topic(2);
    let mut first = Box::pin(policy.authorize(&user, stream, &question));
    let mut second = Box::pin(policy.authorize(&user, stream, &question));
    assert!(
        futures_util::poll!(&mut first).is_pending()
            && futures_util::poll!(&mut second).is_pending()
    );
    drop(first); // the first caller gives up; the second one still gets the result
    assert!(futures_util::poll!(&mut second).is_pending());
    database.response_permits.as_ref().unwrap().add_permits(1);
    assert_eq!(second.await, Ok(true));
    assert_eq!(database.query_count.load(Ordering::SeqCst), 1);
    assert_eq!(policy.in_flight.in_progress(), 0, "nothing is left behind");
}

#[tokio::test]
async fn abandoned_lookup_is_removed() {
    let catalog = catalog();
    let database = Arc::new(FakePermissionSource {
        response_permits: Some(Semaphore::new(0)),
        ..FakePermissionSource::default()
    });
    let (policy, user, stream) = (policy(&database), ana(), catalog.get(StreamId(0)));
    let question = topic(2);
    let mut only = Box::pin(policy.authorize(&user, stream, &question));
    assert!(futures_util::poll!(&mut only).is_pending());
    drop(only);
    assert_eq!(policy.in_flight.in_progress(), 0);
    database.response_permits.as_ref().unwrap().add_permits(1);
    assert_eq!(policy.authorize(&user, stream, &question).await, Ok(true));
    assert_eq!(database.query_count.load(Ordering::SeqCst), 2);
}
