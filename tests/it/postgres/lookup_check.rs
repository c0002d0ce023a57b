//! `latido doctor --lookups`: a route that misses keys is refuted, and one that is right is not.

use std::sync::Arc;

use latido_postgres::{Config, Database, Finding, FindingLevel, examine, examine_lookups};
use latido_stream::{Catalog, KeyRoute, Param, ParamKind, SourceTable, Stream};
use tokio_postgres::Client;

use super::{empty_database, estadisticas};
use crate::harness::cluster::TestDatabase;

/// Authors, their posts, and comments by others; through a view and in two schemas.
const SCHEMA: &str = "
    CREATE SCHEMA blog;
    CREATE TABLE blog.authors (id bigint PRIMARY KEY);
    CREATE TABLE blog.posts (id int PRIMARY KEY, author_id bigint NOT NULL REFERENCES blog.authors, dia date NOT NULL);
    CREATE TABLE \"Comments\" (id int PRIMARY KEY, post_id int REFERENCES blog.posts, author_id bigint, hidden boolean NOT NULL, nota text);
    CREATE VIEW visible AS SELECT c.id, c.post_id FROM \"Comments\" c WHERE NOT c.hidden;
    CREATE VIEW blog.by_post AS SELECT v.post_id, count(*) AS n FROM visible v GROUP BY v.post_id;
    INSERT INTO blog.authors SELECT generate_series(1, 10);
    INSERT INTO blog.posts SELECT i, 1 + i % 10, '2020-02-03' FROM generate_series(1, 100) i;
    INSERT INTO \"Comments\" SELECT i, 1 + i % 100, 1 + i % 7, i % 3 = 0 FROM generate_series(1, 300) i;";

const QUERY: &str = "
    SELECT u.id, coalesce(s.n, 0) AS n FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
    LEFT JOIN LATERAL (SELECT sum(b.n) AS n FROM blog.posts p JOIN blog.by_post b ON b.post_id = p.id
                       WHERE p.author_id = u.id AND p.dia <= u.hoy) s ON true";

const RIGHT: &str = "SELECT p.author_id FROM changed c JOIN blog.posts p ON p.id = c.post_id";

fn entry(table: &str, route: KeyRoute) -> SourceTable {
    SourceTable {
        name: table.to_owned(),
        route,
        columns: Vec::new(),
    }
}

fn column(name: &str) -> KeyRoute {
    KeyRoute::Columns(vec![name.to_owned()])
}

fn lookup(sql: &str) -> KeyRoute {
    KeyRoute::Lookup(sql.to_owned())
}

fn stream(comments: KeyRoute) -> Stream {
    Stream {
        name: "comentarios".to_owned(),
        query: QUERY.to_owned(),
        authorize_query: None,
        key_fields: vec!["id".to_owned()],
        tables: vec![
            entry("blog.posts", column("author_id")),
            entry("\"Comments\"", comments),
        ],
        ..estadisticas()
    }
}

struct Place {
    _home: TestDatabase,
    client: Client,
    database: Database,
}

impl Place {
    async fn new() -> Self {
        let (home, client, url) = empty_database().await;
        client.batch_execute(SCHEMA).await.unwrap();
        Self {
            _home: home,
            client,
            database: Database::open(&Config::new(url)).unwrap(),
        }
    }

    async fn findings(&self, stream: Stream) -> Vec<Finding> {
        let catalog = Arc::new(Catalog::new(vec![stream]));
        examine_lookups(&self.database, &catalog).await
    }
}

fn levels(findings: &[Finding]) -> Vec<FindingLevel> {
    findings.iter().map(|finding| finding.level).collect()
}

#[tokio::test]
async fn right_routes_are_exercised_and_not_refuted() {
    let place = Place::new().await;
    let found = place.findings(stream(lookup(RIGHT))).await;
    assert_eq!(levels(&found), [FindingLevel::Ok; 2], "{found:#?}");
    let rows = "SELECT count(*) FROM \"Comments\"";
    let count: i64 = place.client.query_one(rows, &[]).await.unwrap().get(0);
    assert_eq!(count, 300, "the table itself is only read");
}

#[tokio::test]
async fn a_column_of_another_meaning_is_refuted() {
    let place = Place::new().await;
    // The commenter, not the author of the post.
    let found = place.findings(stream(column("author_id"))).await;
    let failures: Vec<_> = found
        .iter()
        .filter(|finding| finding.level == FindingLevel::Failure)
        .collect();
    assert_eq!(failures.len(), 1, "{found:#?}");
    assert!(
        failures[0].subject.contains("Comments")
            && failures[0].detail.contains("altered the row of key"),
        "{found:#?}"
    );
    // Both together miss nothing.
    let mut both = stream(column("author_id"));
    both.tables
        .push(entry("public.\"Comments\"", lookup(RIGHT)));
    let found = place.findings(both).await;
    assert_eq!(levels(&found), [FindingLevel::Ok; 2], "{found:#?}");
    // Any change of the table concerns every key: nothing can be missed.
    let found = place.findings(stream(KeyRoute::EveryKey)).await;
    assert_eq!(levels(&found), [FindingLevel::Ok], "{found:#?}");
}

#[tokio::test]
async fn composite_keys_and_parameters_are_compared_too() {
    let place = Place::new().await;
    let composite = |comments: &str| {
        Stream {
        query: "SELECT u.autor, u.post, u.desde, (SELECT count(*) FROM \"Comments\" c WHERE c.post_id = p.id AND c.id >= u.desde) AS n
                FROM unnest($1::bigint[], $2::int[], $3::date[], $4::int[]) AS u (autor, post, hoy, desde)
                JOIN blog.posts p ON p.author_id = u.autor AND p.id = u.post"
            .to_owned(),
        key_fields: vec!["autor".to_owned(), "post".to_owned()],
        params: vec![Param {
            name: "desde".to_owned(),
            kind: ParamKind::Integer,
            default: None,
        }],
        tables: vec![
            entry("blog.posts", KeyRoute::Columns(vec!["author_id".to_owned(), "id".to_owned()])),
            entry("\"Comments\"", lookup(comments)),
        ],
        ..stream(KeyRoute::EveryKey)
    }
    };
    let right = "SELECT p.author_id, p.id FROM changed c JOIN blog.posts p ON p.id = c.post_id";
    let found = place.findings(composite(right)).await;
    assert_eq!(levels(&found), [FindingLevel::Ok; 2], "{found:#?}");
    let wrong = "SELECT c.author_id, c.post_id FROM changed c";
    let found = place.findings(composite(wrong)).await;
    assert!(
        levels(&found).contains(&FindingLevel::Failure),
        "{found:#?}"
    );
}

#[tokio::test]
async fn what_cannot_be_tested_is_said() {
    let place = Place::new().await;
    let client = &place.client;
    let warned = |found: &[Finding], text: &str| {
        let is_meant = |finding: &Finding| {
            finding.level == FindingLevel::Warning && finding.detail.contains(text)
        };
        assert!(found.iter().any(is_meant), "{found:#?}");
    };
    client.batch_execute("TRUNCATE \"Comments\"").await.unwrap();
    let found = place.findings(stream(lookup(RIGHT))).await;
    warned(&found, "not tested: the table has no row");

    client
        .batch_execute("CREATE TABLE public.posts (id int, author_id bigint)")
        .await
        .unwrap();
    let mut two = stream(lookup(RIGHT));
    two.query = QUERY.replace(
        "p.dia <= u.hoy",
        "EXISTS (SELECT FROM public.posts o WHERE o.id = p.id)",
    );
    warned(&place.findings(two).await, "several tables named posts");
    let own = "CREATE TABLE public.changed (id int)";
    client.batch_execute(own).await.unwrap();
    let mut named = stream(lookup(RIGHT));
    named.query = QUERY.replace(
        "p.dia <= u.hoy",
        "EXISTS (SELECT FROM public.changed o WHERE o.id = p.id)",
    );
    warned(&place.findings(named).await, "a table named changed");
    // An entry that is refused is left out. The other checks of the doctor name it.
    let refused = || stream(lookup("SELECT nothing FROM changed"));
    let found = place.findings(refused()).await;
    let subjects: Vec<_> = found.iter().map(|finding| &*finding.subject).collect();
    assert_eq!(
        subjects,
        ["stream comentarios: keys of changes of blog.posts"]
    );
    let found = examine(&place.database, &Catalog::new(vec![refused()])).await;
    let is_named = |finding: &Finding| {
        finding.level == FindingLevel::Failure && finding.subject.contains("via of \"Comments\"")
    };
    assert!(found.iter().any(is_named), "{found:#?}");
}

/// Each read takes so long that the tables before would use up the time of the last, `Track`.
#[tokio::test]
async fn every_table_has_its_share_of_the_time() {
    let (_home, client, url) = empty_database().await;
    let schema = "
        CREATE TABLE \"Artist\" (\"ArtistId\" int PRIMARY KEY, \"Name\" text);
        CREATE TABLE \"Album\" (\"AlbumId\" int PRIMARY KEY, \"ArtistId\" int NOT NULL REFERENCES \"Artist\", \"Title\" text);
        CREATE TABLE \"Track\" (\"TrackId\" int PRIMARY KEY, \"AlbumId\" int REFERENCES \"Album\", \"Name\" text);
        CREATE TABLE \"InvoiceLine\" (\"InvoiceLineId\" int PRIMARY KEY, \"TrackId\" int NOT NULL REFERENCES \"Track\");
        INSERT INTO \"Artist\" SELECT n, 'a' FROM generate_series(1, 275) n;
        INSERT INTO \"Album\" SELECT n, 1 + n % 275, 'b' FROM generate_series(1, 347) n;
        INSERT INTO \"Track\" SELECT n, 1 + n % 347, 'c' FROM generate_series(1, 3503) n;
        INSERT INTO \"InvoiceLine\" SELECT n, 1 + n % 3503 FROM generate_series(1, 2240) n;";
    client.batch_execute(schema).await.unwrap();
    let database = Database::open(&Config::new(url)).unwrap();
    let by_album =
        "SELECT b.\"ArtistId\" FROM changed c JOIN \"Album\" b ON b.\"AlbumId\" = c.\"AlbumId\"";
    let by_track = "SELECT b.\"ArtistId\" FROM changed c JOIN \"Track\" t ON t.\"TrackId\" = c.\"TrackId\" JOIN \"Album\" b ON b.\"AlbumId\" = t.\"AlbumId\"";
    let stream = Stream {
        name: "artistas".to_owned(),
        // Reading the keys takes a quarter of a second.
        query: "SELECT u.artista, s.* FROM unnest($1::int[]) AS u (artista) CROSS JOIN LATERAL (
                  SELECT count(l.\"InvoiceLineId\") AS vendidas FROM \"Artist\" a JOIN \"Album\" b USING (\"ArtistId\")
                    JOIN \"Track\" t USING (\"AlbumId\") LEFT JOIN \"InvoiceLine\" l USING (\"TrackId\")
                   WHERE a.\"ArtistId\" = u.artista) s
                 WHERE (SELECT pg_sleep(0.25)) IS NOT NULL"
            .to_owned(),
        authorize_query: None,
        key_fields: vec!["artista".to_owned()],
        tables: vec![
            entry("\"Artist\"", column("ArtistId")),
            entry("\"Album\"", column("ArtistId")),
            entry("\"InvoiceLine\"", lookup(by_track)),
            entry("\"Track\"", lookup(by_album)),
        ],
        ..estadisticas()
    };
    let catalog = Catalog::new(vec![stream]);
    let found = examine_lookups(&database, &catalog).await;
    assert_eq!(found.len(), 4, "{found:#?}");
    let is_untried = |finding: &&Finding| finding.detail.contains("not tested: the time");
    assert_eq!(found.iter().find(is_untried), None, "{found:#?}");
    let track = &found[3];
    assert!(
        track.subject.contains("Track") && track.level == FindingLevel::Ok,
        "{found:#?}"
    );
}

/// Whoever owns a table may let its indexes call functions. The role of the doctor may be allowed more.
#[tokio::test]
async fn functions_of_a_tables_owner_are_not_called() {
    let place = Place::new().await;
    let client = &place.client;
    let function = "
        CREATE SEQUENCE calls;
        CREATE FUNCTION spy(of int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.calls''); RETURN of; END';
        CREATE FUNCTION is_fit(of int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN public.spy(of) IS NOT NULL; END';
        CREATE DOMAIN fit AS int CHECK (is_fit(VALUE));
        CREATE UNIQUE INDEX ON \"Comments\" (spy(id));
        CREATE INDEX ON \"Comments\" ((id::fit));
        CREATE INDEX ON \"Comments\" (post_id) WHERE is_fit(id);
        ALTER TABLE \"Comments\" ADD EXCLUDE USING btree (spy(id) WITH =);
        ALTER SEQUENCE calls RESTART 1";
    client.batch_execute(function).await.unwrap();
    let found = place.findings(stream(lookup(RIGHT))).await;
    assert_eq!(levels(&found), [FindingLevel::Ok; 2], "{found:#?}");
    let calls = "SELECT is_called FROM calls";
    let is_called: bool = client.query_one(calls, &[]).await.unwrap().get(0);
    assert!(!is_called);
}
