//! Subscriptions that wait, for their stream or for an answer about their right, when another
//! configuration is taken up.

use reqwest::Method;
use serde_json::json;

use super::{COUNT, Reloadable, file, next_number};
use crate::harness::{OTHER_USER, TempFolder, wait_until};

/// Returns a query over a table that the tests create later.
fn query_of(table: &str) -> String {
    format!(
        "SELECT u.k, s.* FROM unnest($1::text[]) AS u (k) CROSS JOIN LATERAL (SELECT sum(r.m) AS n FROM {table} r WHERE r.k = u.k) s"
    )
}

/// The keys of such a stream are not known before its table is there, so nobody is in its room.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_a_stream_without_keys_are_served_or_ended() {
    let folder = TempFolder::new();
    for name in ["mended", "removed"] {
        folder.write(&format!("{name}.sql"), &query_of(&format!("{name}_rows")));
    }
    let path = folder.path().to_str().expect("UTF-8");
    let toml = file(&[("one", COUNT)]);
    let server = Reloadable::start_with(&toml, &[("STREAMS_DIR", path)]).await;
    let mut socket = server.connect().await;
    for channel in ["mended:a", "removed:a"] {
        let error = socket.subscribe_as(channel, "error").await;
        assert_eq!(error["data"]["code"], "unavailable", "{error}");
    }
    let get = async |path: &str| {
        let request = server.app.request(Method::GET, path);
        request.bearer_auth(server.admin()).send().await.unwrap()
    };
    for path in ["/mended", "/mended/a", "/mended/a/events", "/mended/a/b"] {
        assert_eq!(get(path).await.status(), 503, "{path}");
    }
    let mut events = get("/events?channel=mended:a").await;
    server
        .execute(
            "CREATE TABLE mended_rows (k text, m int); INSERT INTO mended_rows VALUES ('a', 9)",
        )
        .await;
    std::fs::remove_file(folder.path().join("removed.sql")).unwrap();
    assert_eq!(server.reload(&toml).await, "~mended -removed =one");
    let (mut number, mut code) = (json!(null), json!(null));
    while number.is_null() || code.is_null() {
        let frame = socket.next().await;
        match frame["type"].as_str() {
            Some("mended") => number = frame["data"]["n"].clone(),
            Some("error") => {
                assert_eq!(frame["data"]["channel"], "removed:a", "{frame}");
                code = frame["data"]["code"].clone();
            }
            _ => assert_eq!(frame["type"], "subscribed", "{frame}"),
        }
    }
    assert_eq!((number, code), (json!(9), json!("unknown_channel")));
    let mut text = String::new();
    while !text.contains(r#""n":9"#) {
        let chunk = crate::harness::within(events.chunk()).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk.expect("it goes on")));
    }
    socket.assert_quiet().await;
    assert_eq!(get("/mended/a").await.status(), 200);
    assert_eq!(get("/mended/a/b").await.status(), 404);
}

/// The rights of a stream whose lookups fail while the table says so, other than those about nobody.
/// Each lookup leaves a lock by which the tests count them.
const FAILING_RIGHTS: &str = "
    CREATE TABLE outage (is_on bool); INSERT INTO outage VALUES (true);
    CREATE FUNCTION may_see(usuario text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN
        IF usuario <> '' AND (SELECT is_on FROM outage) THEN
            PERFORM pg_advisory_lock(20, (extract(epoch FROM clock_timestamp()) * 1000)::bigint::bit(31)::int);
            RAISE EXCEPTION 'out of order';
        END IF;
        RETURN true;
    END $$";

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_cannot_be_looked_up_after_a_reload_are_looked_up_again() {
    let with = |aggregate: &str, condition: &str| {
        let key = "key_field = \"k\"";
        let sql = format!("SELECT k FROM unnest($2::text[]) k WHERE {condition}");
        let streams = file(&[("one", aggregate)]);
        streams.replacen(key, &format!("{key}\nauthorize = \"{sql}\""), 1)
    };
    let server = Reloadable::start(&with(COUNT, "$1 <> ''")).await;
    server.execute(FAILING_RIGHTS).await;
    let token = server.app.token(OTHER_USER);
    let mut socket = server.app.connect_socket(&token).await;
    assert_eq!(socket.subscribe_as("one:a", "one").await["data"]["n"], 2);
    let failing = with("count(*) + 10", "may_see($1)");
    assert_eq!(server.reload(&failing).await, "~one");
    let error = socket.next().await;
    assert_eq!(error["data"]["code"], "unavailable", "{error}");
    assert_eq!(error["data"]["channel"], "one:a", "{error}");
    let db = server.app.connect_database().await;
    wait_until("the right was looked up several times", async || {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 20";
        db.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) >= 3
    })
    .await;
    // It was told once.
    socket.assert_quiet().await;
    // Nor is it told again with a new token. If it asks again, it is told, and still waits.
    let renewal = json!({"type": "auth", "data": {"token": server.app.token(OTHER_USER)}});
    socket.send(&renewal).await;
    socket.next_of_type("authenticated").await;
    socket.assert_quiet().await;
    let error = socket.subscribe_as("one:a", "error").await;
    assert_eq!(error["data"]["code"], "unavailable", "{error}");
    // A subscription that the client itself asks for ends.
    let mut other = server.app.connect_socket(&token).await;
    let error = other.subscribe_as("one:b", "error").await;
    assert_eq!(error["data"]["code"], "unavailable", "{error}");
    server.execute("UPDATE outage SET is_on = false").await;
    assert_eq!(next_number(&mut socket, "one").await, 12);
    server.execute("INSERT INTO rows VALUES ('a', 4)").await;
    assert_eq!(next_number(&mut socket, "one").await, 13);
    other.assert_quiet().await;
}
