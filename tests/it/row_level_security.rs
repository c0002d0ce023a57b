//! The SQL of docs/guides/row-level-security.md: policies decide who may watch a key, asked by a role
//! with few rights.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::harness::cluster::{OwnCluster, connect};
use crate::harness::{TempFolder, TestApp, TestSocket, claims, settings};

const SCHEMA_FILES: [&str; 3] = ["sql/schema.sql", "tests/it/sql/people.sql", "sql/role.sql"];

const ANA: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const OTTO: &str = "aaaaaaaa-0000-4000-8000-000000000002";

/// Shops 1 and 2 of one organisation, shop 3 of another. Ana is a member of 1, Otto of 3.
const ROWS: &str = "INSERT INTO tiendas VALUES (1, 'norte'), (2, 'norte'), (3, 'sur');
    INSERT INTO miembros VALUES (1, 'aaaaaaaa-0000-4000-8000-000000000001'), (3, 'aaaaaaaa-0000-4000-8000-000000000002');
    INSERT INTO pedidos (tienda_id, total) VALUES (1, 10), (1, 5), (2, 7), (3, 1)";

/// The code of the guide.
struct Guide(String);

impl Guide {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/row-level-security.md");
        Self(fs::read_to_string(path).unwrap())
    }

    /// Returns the code blocks whose first line, a comment, starts with `title`.
    fn blocks(&self, title: &str) -> Vec<String> {
        let blocks = self.0.split("```").skip(1).step_by(2);
        let named = blocks.filter_map(|block| {
            let (_, code) = block.split_once('\n')?;
            let is_named = code.trim_start().trim_start_matches(['-', '#', ' ']);
            is_named.starts_with(title).then(|| code.to_owned())
        });
        named.collect()
    }

    fn block(&self, title: &str) -> String {
        let mut blocks = self.blocks(title);
        assert_eq!(blocks.len(), 1, "{title}");
        blocks.remove(0)
    }
}

/// A database with the schema of the guide, and its configuration.
struct Example {
    guide: Guide,
    cluster: OwnCluster,
    owner: Client,
    folder: TempFolder,
    configuration: String,
}

impl Example {
    async fn create() -> Self {
        let (guide, folder) = (Guide::read(), TempFolder::new());
        let cluster = OwnCluster::start(&SCHEMA_FILES).await;
        let owner = cluster.client().await;
        for title in ["auth.sql", "schema.sql", "role.sql", "function.sql"] {
            owner.batch_execute(&guide.block(title)).await.unwrap();
        }
        owner.batch_execute(ROWS).await.unwrap();
        folder.write("authorize.sql", &guide.block("authorize.sql"));
        let file = folder.write("latido.toml", &guide.block("latido.toml"));
        Self {
            configuration: file.to_str().unwrap().to_owned(),
            guide,
            cluster,
            owner,
            folder,
        }
    }

    fn variables(&self) -> [(&str, &str); 2] {
        [
            ("LATIDO_CONFIG", self.configuration.as_str()),
            ("AUTHORIZE_RECHECK_SECONDS", "2"),
        ]
    }

    fn latido_url(&self) -> String {
        self.cluster.url().replacen("postgres@", "latido@", 1)
    }

    /// Installs the triggers as the owner, and serves as `latido`.
    async fn serve(&self) -> TestApp {
        let variables = self.variables();
        TestApp::try_install_on(&self.cluster.url(), &variables)
            .await
            .unwrap();
        TestApp::on_database_with(&self.latido_url(), &variables, |_| {}).await
    }

    /// Returns the names of the keys that a viewer may watch, among all.
    async fn visible(&self, app: &TestApp, token: &str) -> Vec<u8> {
        let mut visible = Vec::new();
        for key in 1..=3 {
            let path = format!("/pedidos/{key}");
            let request = app.request(reqwest::Method::GET, &path).bearer_auth(token);
            match request.send().await.unwrap().status().as_u16() {
                200 => visible.push(key),
                status => assert_eq!(status, 403, "{path}"),
            }
        }
        visible
    }
}

fn token(app: &TestApp, user: &str, more: Value) -> String {
    let mut claims = json!({"sub": user, "role": "authenticated", "exp": claims::now() + 600});
    let more = more.as_object().unwrap().clone();
    claims.as_object_mut().unwrap().extend(more);
    app.sign(&claims)
}

async fn subscribe(socket: &mut TestSocket, channel: &str) -> Value {
    socket.subscribe_as(channel, "pedidos").await["data"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_who_may_watch_a_key() {
    let example = Example::create().await;
    let app = example.serve().await;
    let auditor = json!({"app_metadata": {"auditor_de": "norte"}});
    let anon = json!({"role": "anon", "app_metadata": {"auditor_de": "norte"}});
    for (user, more, visible) in [
        (ANA, json!({}), vec![1]),
        (OTTO, json!({}), vec![3]),
        // Another token of the same user, while the answer for the first is remembered.
        (OTTO, auditor.clone(), vec![1, 2, 3]),
        (ANA, anon, vec![]),
        (
            ANA,
            json!({"user_metadata": {"auditor_de": "norte"}}),
            vec![1],
        ),
    ] {
        let token = token(&app, user, more.clone());
        assert_eq!(
            example.visible(&app, &token).await,
            visible,
            "{user} {more}"
        );
    }
    let findings = app.doctor_findings(&example.variables()).await;
    let of_query = findings.iter().find(|text| text.contains("authorize"));
    assert!(of_query.unwrap().contains("Ok"), "{findings:?}");

    // Two rights in use, of which one is withdrawn. Both are looked up in one statement.
    let mut member = app.connect_socket(&token(&app, ANA, json!({}))).await;
    let seen = subscribe(&mut member, "pedidos:1").await;
    assert_eq!((&seen["pedidos"], &seen["total"]), (&json!(2), &json!(15)));
    let mut auditing = app.connect_socket(&token(&app, ANA, auditor)).await;
    subscribe(&mut auditing, "pedidos:1").await;
    let remove = format!("DELETE FROM miembros WHERE usuario = '{ANA}'");
    example.owner.batch_execute(&remove).await.unwrap();
    let refused = member.next_of_type("error").await;
    assert_eq!(refused["data"]["code"], "forbidden", "{refused}");
    member.next_of_type("unsubscribed").await;
    let insert = "INSERT INTO pedidos (tienda_id, total) VALUES (1, 1)";
    example.owner.batch_execute(insert).await.unwrap();
    let seen = auditing.next_of_type("pedidos").await;
    assert_eq!(seen["data"]["pedidos"], 3, "a right that stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_alone_decide_as_the_policies_do() {
    let example = Example::create().await;
    example
        .folder
        .write("authorize.sql", &example.guide.block("claims.sql"));
    let grant = "GRANT SELECT ON tiendas, miembros TO latido";
    example.owner.batch_execute(grant).await.unwrap();
    let app = example.serve().await;
    for (user, more, visible) in [
        (ANA, json!({}), vec![1]),
        (OTTO, json!({}), vec![3]),
        (
            OTTO,
            json!({"app_metadata": {"auditor_de": "norte"}}),
            vec![1, 2, 3],
        ),
        (ANA, json!({"role": "anon"}), vec![]),
    ] {
        let token = token(&app, user, more.clone());
        assert_eq!(
            example.visible(&app, &token).await,
            visible,
            "{user} {more}"
        );
    }
}

/// The serving role may call the function, and do nothing else as the role of the policies.
#[tokio::test]
async fn serving_role_gains_no_rights() {
    let example = Example::create().await;
    let latido = connect(&example.latido_url()).await;
    for sql in [
        "SELECT FROM tiendas",
        "SELECT FROM miembros",
        "SELECT id FROM pedidos",
        "SELECT auth.uid()",
        "SET ROLE authenticated",
        "CREATE FUNCTION permisos.otra() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ] {
        let error = latido.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{sql}");
    }
    // A caller gets no setting, role or claim from a call.
    let call = "SELECT permisos.tiendas_visibles('{1}', '{\"sub\": \"aaaaaaaa-0000-4000-8000-000000000001\"}')";
    assert_eq!(latido.query(call, &[]).await.unwrap().len(), 1);
    let after =
        "SELECT current_user::text, coalesce(current_setting('request.jwt.claims', true), '')";
    let row = latido.query_one(after, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), ("latido", ""));
}

#[tokio::test]
async fn what_the_guide_warns_of_is_as_it_says() {
    let example = Example::create().await;
    let latido = connect(&example.latido_url()).await;
    let failing = example.guide.blocks("fails: ");
    assert_eq!(failing.len(), 2);
    for block in failing {
        let (title, sql) = block.trim_start().split_once('\n').unwrap();
        let expected = title.trim_start_matches("-- fails: ");
        let error = latido.batch_execute(sql).await.unwrap_err();
        let message = error.as_db_error().unwrap().message().to_owned();
        assert!(message.contains(expected), "{title}: {message}");
    }
    let leaking = example.guide.blocks("leaks: ");
    let [owner_is_superuser, inline] = leaking.as_slice() else {
        panic!("{} blocks", leaking.len());
    };
    let grant = "GRANT SELECT ON tiendas TO latido";
    example.owner.batch_execute(grant).await.unwrap();
    example
        .owner
        .batch_execute(owner_is_superuser)
        .await
        .unwrap();
    let through_function = example.guide.block("authorize.sql");
    let claims = json!({"sub": ANA, "role": "authenticated"}).to_string();
    for (sql, is_leaking) in [(&through_function, true), (inline, true)] {
        let sql = format!(
            "PREPARE q (text, text[], jsonb) AS {sql}; EXECUTE q ('{ANA}', '{{1,2,3}}', '{claims}'); DEALLOCATE q"
        );
        let answer = latido.simple_query(&sql).await.unwrap();
        let rows = answer
            .iter()
            .filter(|message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(_)));
        assert_eq!(rows.count() == 3, is_leaking, "{sql}");
    }
}

/// `latido grants` cannot see into a function, and gives what the query itself reads.
#[tokio::test]
async fn grants_cover_a_query_with_claims() {
    let example = Example::create().await;
    example
        .folder
        .write("authorize.sql", &example.guide.block("claims.sql"));
    let settings = settings(&example.cluster.url(), &example.variables());
    let script = latido::app::grants(settings, "latido", true).await.unwrap();
    for line in [
        "GRANT SELECT (\"id\", \"organizacion\") ON TABLE \"public\".\"tiendas\"",
        "GRANT SELECT (\"tienda_id\", \"usuario\") ON TABLE \"public\".\"miembros\"",
    ] {
        assert!(script.contains(line), "{line} in {script}");
    }
}
