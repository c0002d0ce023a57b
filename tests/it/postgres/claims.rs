//! `authorize` queries with the claims of a token: the types of their parameters, and many users in
//! one statement.

use latido_base::ident::{Key, UserId};
use latido_postgres::{Config, Database, DatabaseError, FindingLevel, examine};
use latido_stream::{
    Catalog, KeyType, Param, ParamKind, PermissionQuestion, PermissionSource, Stream,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::empty_database;
use crate::harness::cluster::{OwnCluster, TestDatabase};

/// A query of the recommended form for keys of two parts.
const QUERY: &str =
    "SELECT u.tienda, u.caja, 1 AS n FROM unnest($1::bigint[], $2::text[]) AS u (tienda, caja)";

/// A user has keys, and the tenant in a claim has keys.
const BY_CLAIMS: &str = "
    SELECT g.clave FROM derechos g
    WHERE g.clave = ANY ($2) AND g.de IN ($1, $3->'app_metadata'->>'tenant')";

/// Finds the same through policies, as docs/guides/row-level-security.md describes.
const BY_POLICIES: &str = "SELECT k FROM visibles($1, $2, $3) AS k";

const SCHEMA: &str = "
    CREATE TABLE derechos (de text, clave text);
    ALTER TABLE derechos ENABLE ROW LEVEL SECURITY;
    ALTER TABLE derechos FORCE ROW LEVEL SECURITY;
    CREATE POLICY propios ON derechos USING (de IN (
        current_setting('request.jwt.claims')::jsonb ->> 'sub',
        current_setting('request.jwt.claims')::jsonb -> 'app_metadata' ->> 'tenant'));
    CREATE FUNCTION visibles(quien text, claves text[], claims jsonb) RETURNS SETOF text
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = public, pg_temp SET row_security = on SET request.jwt.claims = '{}' AS $$
        SELECT set_config('request.jwt.claims', (claims || jsonb_build_object('sub', quien))::text, true);
        SELECT clave FROM derechos WHERE clave = ANY (claves);
    $$;
    CREATE FUNCTION of_json(json) RETURNS bool LANGUAGE sql AS $$ SELECT $1 ->> 'role' = 'x' $$;
    CREATE FUNCTION of_jsonb(jsonb) RETURNS bool LANGUAGE sql AS $$ SELECT $1 ->> 'role' = 'x' $$;";

fn stream(authorize: &str) -> Stream {
    Stream {
        query: QUERY.to_owned(),
        authorize_query: Some(authorize.into()),
        key_fields: vec!["tienda".to_owned(), "caja".to_owned()],
        ..Stream::test_stream("cajas", None)
    }
}

async fn open(schema: &str) -> (TestDatabase, tokio_postgres::Client, Database) {
    let (home, client, url) = empty_database().await;
    client.batch_execute(schema).await.unwrap();
    let database = Database::open(&Config::new(&url)).unwrap();
    (home, client, database)
}

fn key(tienda: u8, caja: &str) -> Key {
    Key::from_parts([tienda.to_string().as_str(), caja])
}

#[tokio::test]
async fn third_parameter_is_jsonb_or_json_and_there_is_no_fourth() {
    let (_home, _client, database) = open(SCHEMA).await;
    let claims = json!({"role": "x", "n": 1}).to_string();
    for (condition, refused) in [
        ("$3 ->> 'role' = 'x'", None),
        ("$3::jsonb ? 'role'", None),
        ("$3::json ->> 'role' = 'x'", None),
        ("of_jsonb($3)", None),
        ("of_json($3)", None),
        // A conversion of the claims, as `request.jwt.claims` needs.
        ("$3::text LIKE '%\"role\": \"x\"%'", None),
        ("$3::bigint = 1", Some("$3 int8")),
        ("$3::text[] IS NOT NULL", Some("$3 _text")),
        ("$3 = 'x'", Some("$3 text")),
        ("$3 ->> 'role' = 'x' AND $4 = 1", Some("found $4")),
        ("$4 = 1", Some("found $4")),
    ] {
        let sql = format!("SELECT k FROM unnest($2) AS k WHERE $1 = 'ana' AND {condition}");
        let catalog = Catalog::new(vec![stream(&sql)]);
        let (_, stream) = catalog.iter().next().unwrap();
        let keys = [key(7, "a/b")];
        let user = UserId::new("ana");
        let installed = database.check_streams(&catalog).await;
        let allowed = database.allowed_keys_by_claims(stream, &user, Some(&claims), &keys);
        let findings = examine(&database, &catalog).await;
        let finding = findings.iter().find(|f| f.subject.ends_with(": authorize"));
        let (allowed, finding) = (allowed.await, finding.unwrap());
        let Some(found) = refused else {
            assert_eq!(allowed, Ok(keys.to_vec()), "{condition}");
            assert_eq!(finding.level, FindingLevel::Ok, "{condition}");
            assert!(installed.unwrap().is_empty(), "{condition}");
            assert_eq!(database.authorize_problem(stream), None);
            continue;
        };
        let problem = database.authorize_problem(stream).unwrap();
        assert_eq!(finding.level, FindingLevel::Failure, "{condition}");
        for text in [
            problem.to_string(),
            allowed.unwrap_err().to_string(),
            finding.detail.clone(),
            installed.unwrap_err().to_string(),
        ] {
            for part in ["authorize query of stream cajas", "$3::jsonb", found] {
                assert!(text.contains(part), "{condition}: {part} in {text}");
            }
        }
    }
}

/// The stream is served all the same, and the reason is found without a question about a key.
#[tokio::test]
async fn invalid_query_with_claims_is_found_when_the_stream_is_prepared() {
    let (_home, client, database) = open(SCHEMA).await;
    let catalog = Catalog::new(vec![stream("SELECT k FROM gone($2, $3) AS k")]);
    database.prepare(&catalog).await.unwrap();
    let (_, stream) = catalog.iter().next().unwrap();
    let problem = database.authorize_problem(stream).unwrap();
    assert!(matches!(&problem, DatabaseError::Rejected { sqlstate, .. } if sqlstate == "42883"));
    let question = PermissionQuestion {
        user: &UserId::new("ana"),
        claims: None,
        key: &key(7, "a"),
    };
    assert!(database.allowed(stream, question).await.is_err());
    // A migration heals it, without a restart.
    client
        .batch_execute("CREATE FUNCTION gone(text[], json) RETURNS SETOF text LANGUAGE sql AS 'SELECT unnest($1)'")
        .await
        .unwrap();
    database.probe_permissions(stream).await.unwrap();
    assert_eq!(database.authorize_problem(stream), None);
    assert_eq!(database.allowed(stream, question).await, Ok(true));
}

/// The query sees in PostgreSQL's statistics which statement it is a part of.
#[tokio::test]
async fn many_users_with_their_claims_are_looked_up_in_one_statement() {
    let (_home, _client, database) = open(SCHEMA).await;
    let sql = "SELECT k FROM unnest($2) AS k WHERE k = $3 ->> 'clave' AND EXISTS (
        SELECT FROM pg_stat_activity WHERE pid = pg_backend_pid() AND query LIKE '%latido_' || 'nth%')";
    let catalog = Catalog::new(vec![stream(sql)]);
    database.prepare(&catalog).await.unwrap();
    let (_, stream) = catalog.iter().next().unwrap();
    let (ana, eva) = (UserId::new("ana"), UserId::new("eva"));
    let claims = [r#"{"clave": "7/a%2Fb"}"#, r#"{"clave": "8/x"}"#];
    let (one, two) = (key(7, "a/b"), key(8, "x"));
    let question = |user, claims, key| PermissionQuestion { user, claims, key };
    let questions = [
        question(&ana, Some(claims[0]), &one),
        question(&ana, Some(claims[0]), &two),
        question(&ana, Some(claims[1]), &one),
        question(&ana, Some(claims[1]), &two),
        question(&eva, Some(claims[0]), &one),
        question(&eva, None, &one),
    ];
    let answers = database.allowed_batch(stream, &questions).unwrap().await;
    let expected = [true, false, false, true, true, false];
    assert_eq!(answers, expected.map(Ok));
}

/// A query may return a key in any spelling, also to a question about many users.
#[tokio::test]
async fn rights_in_use_are_found_in_any_spelling() {
    let (_home, _client, database) = open("").await;
    let upper = "SELECT upper(k) FROM unnest($2) AS k WHERE $1 <> 'otto'";
    let stream = Stream {
        query: "SELECT u.negocio_id, 1 AS n FROM unnest($1::uuid[]) AS u (negocio_id)".to_owned(),
        authorize_query: Some(upper.into()),
        ..Stream::test_stream("uuids", Some(KeyType::Uuid))
    };
    let key = Key::from_canonical("aaaaaaaa-0000-4000-8000-00000000000f");
    let users = ["ana", "eva", "otto"].map(UserId::new);
    let questions = users.each_ref().map(|user| PermissionQuestion {
        user,
        claims: None,
        key: &key,
    });
    let answers = database.allowed_batch(&stream, &questions).unwrap().await;
    assert_eq!(answers, [Ok(true), Ok(true), Ok(false)]);
}

#[derive(Debug, Clone)]
struct Case {
    /// Who has which key: users 0 and 1, then tenants 0 and 1.
    rights: Vec<(usize, u8)>,
    /// User, tenant (if any) and key.
    questions: Vec<(usize, Option<usize>, u8)>,
}

const OWNERS: [&str; 4] = ["ana", "e'v\"a", "norte", "sur, \\ {x}"];
const CAJAS: [&str; 3] = ["a", "b/c", "d,\"e\\"];

fn cases() -> impl Strategy<Value = Case> {
    let right = (0..OWNERS.len(), 0..3_u8);
    let question = (0..2_usize, prop::option::of(0..2_usize), 0..3_u8);
    let rights = prop::collection::vec(right, 0..6);
    let questions = prop::collection::vec(question, 1..12);
    (rights, questions).prop_map(|(rights, questions)| Case { rights, questions })
}

fn key_of(number: u8) -> Key {
    key(number, CAJAS[usize::from(number)])
}

fn claims_of(tenant: Option<usize>) -> Value {
    match tenant {
        Some(tenant) => json!({"role": "x", "app_metadata": {"tenant": OWNERS[2 + tenant]}}),
        None => json!({"role": "x"}),
    }
}

async fn check(
    client: &tokio_postgres::Client,
    database: &Database,
    streams: &[&Stream],
    case: Case,
) {
    client.batch_execute("DELETE FROM derechos").await.unwrap();
    for (owner, number) in &case.rights {
        let clave = streams[0].write_key(&key_of(*number));
        let insert = "INSERT INTO derechos VALUES ($1, $2)";
        client
            .execute(insert, &[&OWNERS[*owner], &clave])
            .await
            .unwrap();
    }
    let users = [OWNERS[0], OWNERS[1]].map(UserId::new);
    let owned: Vec<_> = case
        .questions
        .iter()
        .map(|(user, tenant, number)| {
            (
                &users[*user],
                claims_of(*tenant).to_string(),
                key_of(*number),
            )
        })
        .collect();
    let questions: Vec<_> = owned
        .iter()
        .map(|(user, claims, key)| PermissionQuestion {
            user,
            claims: Some(claims),
            key,
        })
        .collect();
    let has = |owner: usize, number: u8| case.rights.contains(&(owner, number));
    let oracle = case.questions.iter().map(|(user, tenant, number)| {
        Ok(has(*user, *number) || tenant.is_some_and(|tenant| has(2 + tenant, *number)))
    });
    let oracle: Vec<_> = oracle.collect();
    for stream in streams {
        let together = database.allowed_batch(stream, &questions).unwrap().await;
        assert_eq!(together, oracle, "together");
        for (question, expected) in questions.iter().zip(&oracle) {
            assert_eq!(
                &database.allowed(stream, *question).await,
                expected,
                "{question:?}"
            );
        }
    }
}

/// Random rights of users and tenants: the answers are the oracle's for one and for many, by claims
/// and through policies.
#[test]
fn random_rights_reach_no_other_user_or_tenant() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // Roles belong to a cluster.
        let cluster = OwnCluster::start(&[]).await;
        let client = cluster.client().await;
        client.batch_execute(SCHEMA).await.unwrap();
        // A superuser would bypass the policies.
        let owner = "CREATE ROLE lector; GRANT USAGE, CREATE ON SCHEMA public TO lector;
            GRANT SELECT ON derechos TO lector; ALTER FUNCTION visibles OWNER TO lector";
        client.batch_execute(owner).await.unwrap();
        let database = Database::open(&Config::new(cluster.url())).unwrap();
        let catalogs = [BY_CLAIMS, BY_POLICIES].map(|sql| Catalog::new(vec![stream(sql)]));
        for catalog in &catalogs {
            database.prepare(catalog).await.unwrap();
        }
        let streams = catalogs.iter().filter_map(|catalog| catalog.iter().next());
        let streams: Vec<&Stream> = streams.map(|(_, stream)| &**stream).collect();
        let mut runner = TestRunner::deterministic();
        for _ in 0..40 {
            let case = cases().new_tree(&mut runner).unwrap().current();
            check(&client, &database, &streams, case).await;
        }
    });
}

/// A key of one part is shown as it is, also if the stream has parameters, which its channels encode.
#[tokio::test]
async fn keys_of_one_part_are_shown_as_they_are() {
    let (_home, _client, database) = open("").await;
    let param = Param {
        name: "desde".to_owned(),
        kind: ParamKind::Date,
        default: None,
    };
    for params in [vec![], vec![param]] {
        let one = Stream {
            query: String::new(),
            authorize_query: Some(
                "SELECT k FROM unnest($2::text[]) AS k WHERE $1 = 'ana' AND k IN ('a b/c%2F', 'x')"
                    .into(),
            ),
            params,
            ..Stream::test_stream("notas", Some(KeyType::Text))
        };
        let keys = ["a b/c%2F", "a b/c/", "x"].map(Key::from_canonical);
        let user = UserId::new("ana");
        let allowed = database.allowed_keys(&one, &user, &keys);
        assert_eq!(
            allowed.await,
            Ok(vec![keys[0].clone(), keys[2].clone()]),
            "{:?}",
            one.params
        );
        let questions = keys.each_ref().map(|key| PermissionQuestion {
            user: &user,
            claims: None,
            key,
        });
        let answers = database.allowed_batch(&one, &questions).unwrap().await;
        assert_eq!(answers, [Ok(true), Ok(false), Ok(true)], "{:?}", one.params);
    }
}

/// The function of docs/streams.md writes the parts of a key as channels do. Joined as they are, the
/// text of one key may be another's.
#[tokio::test]
async fn documented_function_writes_keys_as_channels_do() {
    let (_home, client, database) = open("CREATE TABLE cajas (tienda text, caja text)").await;
    let docs = include_str!("../../../docs/streams.md");
    let (_, code) = docs.split_once("-- clave.sql\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    client.batch_execute(code).await.unwrap();
    let own = [["7", "a b"], ["a%2Fb", "c"], ["ñandú/😀", "-._~ \"'&+#?"]];
    for parts in own {
        let insert = "INSERT INTO cajas VALUES ($1, $2)";
        client
            .execute(insert, &[&parts[0], &parts[1]])
            .await
            .unwrap();
    }
    let authorize =
        "SELECT clave(tienda, caja) FROM cajas WHERE $1 = 'ana' AND clave(tienda, caja) = ANY ($2)";
    let stream = Stream {
        key_types: vec![KeyType::Text, KeyType::Text].into(),
        ..stream(authorize)
    };
    let others = [
        ["a/b", "c"],
        ["a%252Fb", "c"],
        ["7", "a%20b"],
        ["7/a b", ""],
    ];
    let own = own.map(Key::from_parts);
    let keys: Vec<_> = own
        .iter()
        .cloned()
        .chain(others.map(Key::from_parts))
        .collect();
    let user = UserId::new("ana");
    let allowed = database.allowed_keys(&stream, &user, &keys).await.unwrap();
    assert_eq!(allowed, own);
}
