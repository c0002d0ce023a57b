//! The policy against a model: an answer is exactly that of the query for everything it was shown,
//! no answer reaches another user or token, and a right that the query no longer grants ends.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::Grants;
use latido_base::ident::{StreamId, UserId};
use latido_stream::{
    KeyType, Param, ParamKind, PermissionBatchFuture, PermissionFuture, PermissionQuestion,
};

const USERS: [&str; 2] = ["ana", "eva"];
const TENANTS: [&str; 3] = ["", "norte", "sur"];
/// The first takes claims, the second does not.
const STREAMS: [(&str, &str); 2] = [("con", "SELECT $1, $2, $3"), ("sin", "SELECT $1, $2")];

/// Everything that a query is shown.
type Shown = (String, Option<String>, String);

/// A database in which tenants and users have keys. The query of a stream without claims finds the
/// keys of users alone.
#[derive(Default)]
struct Tables {
    granted: Mutex<HashSet<(String, String)>>,
    questions: Mutex<Vec<Shown>>,
    answers_batches: bool,
}

impl Tables {
    fn answer(&self, question: PermissionQuestion<'_>) -> bool {
        let (user, claims) = (question.user.as_str(), question.claims.map(str::to_owned));
        let key = question.key.as_str().to_owned();
        let shown = (user.to_owned(), claims, key);
        let answer = self.oracle(&shown);
        self.questions.lock().unwrap().push(shown);
        answer
    }

    /// Returns whether the user, or the tenant that the claims name, has the key.
    fn oracle(&self, (user, claims, key): &Shown) -> bool {
        let claims = claims
            .as_ref()
            .map(|text| serde_json::from_str(text).unwrap());
        let claims: Value = claims.unwrap_or_default();
        let owners = [Some(user.as_str()), claims["tenant"].as_str()];
        let granted = self.granted.lock().unwrap();
        let mut owners = owners.into_iter().flatten();
        owners.any(|owner| granted.contains(&(owner.to_owned(), key.clone())))
    }
}

impl PermissionSource for Tables {
    fn allowed<'a>(
        &'a self,
        _: &'a Stream,
        question: PermissionQuestion<'a>,
    ) -> PermissionFuture<'a> {
        Box::pin(std::future::ready(Ok(self.answer(question))))
    }

    fn allowed_batch<'a>(
        &'a self,
        _: &'a Stream,
        questions: &'a [PermissionQuestion<'a>],
    ) -> Option<PermissionBatchFuture<'a>> {
        self.answers_batches.then(|| {
            let answers = questions.iter().map(|question| Ok(self.answer(*question)));
            let answers: Vec<_> = answers.collect();
            Box::pin(std::future::ready(answers)) as PermissionBatchFuture<'a>
        })
    }
}

fn catalog() -> Catalog {
    let desde = Param {
        name: "desde".to_owned(),
        kind: ParamKind::Text { max_bytes: 10 },
        default: Some("hoy".to_owned()),
    };
    let stream = |(name, sql): (&str, &str)| Stream {
        authorize_query: Some(sql.into()),
        key_fields: vec!["tienda_id".to_owned(), "caja".to_owned()],
        params: vec![desde.clone()],
        key_types: OnceLock::from(vec![KeyType::Integer, KeyType::Integer]),
        ..Stream::test_stream(name, None)
    };
    Catalog::new(STREAMS.map(stream).into())
}

/// A token: its user, tenant, and a claim that each issue changes.
type Token = (usize, usize, u8);

fn principal(&(user, tenant, issue): &Token) -> Principal {
    let claims = json!({"sub": USERS[user], "tenant": TENANTS[tenant], "iat": issue});
    let claims: Map<String, Value> = claims.as_object().unwrap().clone();
    let user = UserId::new(USERS[user]);
    Principal::new(user, 0, None, Grants::default()).with_claims(&claims)
}

#[derive(Debug, Clone)]
enum Step {
    /// A token subscribes to a channel of a key with a parameter.
    Subscribe(Token, usize, u8, u8),
    /// A user or a tenant gets or loses a key.
    Change(usize, u8, bool),
    /// The rights in use are looked up again.
    Recheck,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let token = (0..USERS.len(), 0..TENANTS.len(), 0..2_u8);
    let step = prop_oneof![
        6 => (token, 0..STREAMS.len(), 0..3_u8, 0..2_u8)
            .prop_map(|(token, stream, key, param)| Step::Subscribe(token, stream, key, param)),
        3 => (0..4_usize, 0..3_u8, any::<bool>())
            .prop_map(|(owner, key, may)| Step::Change(owner, key, may)),
        1 => Just(Step::Recheck),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the policy must do: answers that were given once count, until a recheck withdraws them.
#[derive(Default)]
struct Model {
    answers: HashMap<(usize, Shown), bool>,
    in_use: Vec<(usize, Shown, Arc<PermissionLease>)>,
}

struct World {
    tables: Arc<Tables>,
    policy: Policy,
    catalog: Catalog,
    model: Model,
}

impl World {
    fn new(answers_batches: bool) -> Self {
        let tables = Arc::new(Tables {
            answers_batches,
            ..Tables::default()
        });
        let config = Config {
            cache_ttl: Duration::from_secs(3_600),
            ..Config::default()
        };
        let policy = Policy::new(config, Arc::clone(&tables) as Arc<dyn PermissionSource>);
        Self {
            tables,
            policy,
            catalog: catalog(),
            model: Model::default(),
        }
    }

    async fn subscribe(&mut self, token: &Token, stream: usize, key: u8, param: u8) {
        let principal = principal(token);
        let name = format!("{}:{key}/{key}?desde={param}", STREAMS[stream].0);
        let channel = self.catalog.resolve(&name).unwrap();
        let id = StreamId(u16::try_from(stream).unwrap());
        let stream_of = Arc::clone(self.catalog.get(id));
        let subject = principal.subject(&stream_of);
        let shown = (
            USERS[token.0].to_owned(),
            subject
                .claims
                .as_ref()
                .map(|claims| claims.json().to_owned()),
            channel.topic.key.without_params().as_str().to_owned(),
        );
        assert_eq!(shown.1.is_some(), stream == 0, "the claims are shown");
        let known = self.model.answers.get(&(stream, shown.clone())).copied();
        let decision = match known {
            None => Decision::NeedsLookup,
            Some(true) => Decision::Allowed,
            Some(false) => Decision::Forbidden,
        };
        assert_eq!(
            self.policy.decide(&principal, &self.catalog, &channel),
            decision
        );
        let expected = known.unwrap_or_else(|| self.tables.oracle(&shown));
        let answer = self.policy.authorize(&subject, &stream_of, &channel.topic);
        assert_eq!(answer.await, Ok(expected));
        let asked = std::mem::take(&mut *self.tables.questions.lock().unwrap());
        let wanted: Vec<_> = known.is_none().then(|| shown.clone()).into_iter().collect();
        assert_eq!(asked, wanted, "asked once, about exactly that");
        self.model.answers.insert((stream, shown.clone()), expected);
        if expected {
            let lease = self.policy.lease(&principal, &self.catalog, &channel);
            self.model.in_use.push((stream, shown, lease.unwrap()));
        }
    }

    fn change(&self, owner: usize, key: u8, may: bool) {
        let owner = [USERS[0], USERS[1], TENANTS[1], TENANTS[2]][owner].to_owned();
        let key = latido_base::ident::Key::from_parts([key.to_string(), key.to_string()]);
        let right = (owner, key.as_str().to_owned());
        let mut granted = self.tables.granted.lock().unwrap();
        match may {
            true => granted.insert(right),
            false => granted.remove(&right),
        };
    }

    async fn recheck(&mut self) {
        self.policy.recheck_leases(&self.catalog).await;
        let mut asked = std::mem::take(&mut *self.tables.questions.lock().unwrap());
        let total = asked.len();
        asked.sort();
        asked.dedup();
        let pairs: HashSet<_> = self
            .model
            .in_use
            .iter()
            .map(|(id, of, _)| (id, of))
            .collect();
        assert_eq!(total, pairs.len(), "each right once, however many use it");
        for (stream, shown, lease) in std::mem::take(&mut self.model.in_use) {
            let is_granted = self.tables.oracle(&shown);
            assert_eq!(lease.is_withdrawn(), !is_granted, "{shown:?}");
            if is_granted {
                self.model.in_use.push((stream, shown, lease));
            } else {
                self.model.answers.insert((stream, shown), false);
            }
        }
    }
}

proptest! {
    #[test]
    fn answers_are_those_of_exactly_what_the_query_was_shown(
        steps in steps(),
        answers_batches in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(answers_batches);
            for step in steps {
                match step {
                    Step::Subscribe(token, stream, key, param) => {
                        world.subscribe(&token, stream, key, param).await;
                    }
                    Step::Change(owner, key, may) => world.change(owner, key, may),
                    Step::Recheck => world.recheck().await,
                }
            }
            world.recheck().await;
        });
    }
}
