//! Streams that were added, changed or removed, and those that stay as they are.

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{COUNT, MAX, Reloadable, SUM, Store, file, next_number};
use crate::harness::cluster::TestDatabase;
use crate::harness::{ADMIN_OF_B1, OTHER_USER, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn added_stream_is_served_on_an_open_socket() {
    let server = Reloadable::start(&file(&[("first", COUNT)])).await;
    let mut socket = server.connect().await;
    let error = socket.subscribe_as("second:a", "error").await;
    assert_eq!(error["data"]["code"], "unknown_channel");
    let both = file(&[("first", COUNT), ("second", SUM)]);
    server.write(&both);
    server.install().await;
    assert_eq!(server.reload(&both).await, "+second =first");
    let frame = socket.subscribe_as("second:a", "second").await;
    assert_eq!(frame["data"]["n"], 3);
    server.app.wait_until_covered().await;
    server.execute("INSERT INTO rows VALUES ('a', 10)").await;
    assert_eq!(next_number(&mut socket, "second").await, 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_of_a_changed_query_get_its_row_and_its_changes() {
    let server = Reloadable::start(&file(&[("one", COUNT), ("other", MAX)])).await;
    let mut sockets = [server.connect().await, server.connect().await];
    let mut versions = Vec::new();
    for socket in &mut sockets {
        let frame = socket.subscribe_as("one:a", "one").await;
        assert_eq!(frame["data"]["n"], 2);
        versions.push(frame["v"].as_u64());
        assert_eq!(
            socket.subscribe_as("other:a", "other").await["data"]["n"],
            2
        );
    }
    let changed = file(&[("one", SUM), ("other", MAX)]);
    assert_eq!(server.reload(&changed).await, "~one =other");
    for (socket, version) in sockets.iter_mut().zip(versions) {
        let frame = socket.next_of_type("one").await;
        assert_eq!(
            (&frame["data"]["n"], &frame["channel"]),
            (&json!(3), &json!("one:a"))
        );
        assert!(frame["v"].as_u64() > version, "versions rise");
    }
    server.app.wait_until_covered().await;
    server.execute("INSERT INTO rows VALUES ('a', 10)").await;
    for socket in &mut sockets {
        let mut frames = [socket.next().await, socket.next().await];
        frames.sort_by_key(|frame| frame["channel"].to_string());
        let numbers = frames.map(|frame| frame["data"]["n"].clone());
        assert_eq!(numbers, [json!(13), json!(10)]);
        socket.assert_quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_stream_ends_its_subscriptions_alone() {
    let server = Reloadable::start(&file(&[("gone", COUNT), ("kept", SUM)])).await;
    let mut socket = server.connect().await;
    socket.subscribe_as("gone:a", "gone").await;
    socket.subscribe_as("kept:a", "kept").await;
    let only = file(&[("kept", SUM)]);
    assert_eq!(server.reload(&only).await, "-gone =kept");
    let error = socket.next().await;
    assert_eq!(error["type"], "error", "{error}");
    assert_eq!(error["data"]["code"], "unknown_channel");
    assert_eq!(error["data"]["channel"], "gone:a");
    server.app.wait_until_covered().await;
    server.execute("INSERT INTO rows VALUES ('a', 4)").await;
    let frame = socket.next().await;
    assert_eq!(
        (&frame["type"], &frame["data"]["n"]),
        (&json!("kept"), &json!(7))
    );
    socket.assert_quiet().await;
    let (topics, viewers) = (
        server.app.metric("latido_topics").await,
        server.app.metric("latido_subscribers").await,
    );
    assert_eq!((topics, viewers), (1.0, 1.0));
    // The same name again is another stream, which nobody watches.
    let again = file(&[("gone", COUNT), ("kept", SUM)]);
    assert_eq!(server.reload(&again).await, "+gone =kept");
    assert_eq!(socket.subscribe_as("gone:a", "gone").await["data"]["n"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_stream_is_not_read_again() {
    let server = Reloadable::start(&file(&[("one", COUNT), ("other", SUM)])).await;
    let mut socket = server.connect().await;
    socket.subscribe_as("one:a", "one").await;
    socket.subscribe_as("other:a", "other").await;
    let before = server.app.metric("latido_reads_total").await;
    for _ in 0..3 {
        let same = file(&[("one", COUNT), ("other", SUM)]);
        assert_eq!(server.reload(&same).await, "=one =other");
    }
    let changed = file(&[("other", SUM), ("one", MAX)]);
    assert_eq!(server.reload(&changed).await, "~one =other");
    assert_eq!(next_number(&mut socket, "one").await, 2);
    let reads = server.app.metric("latido_reads_total").await - before;
    assert_eq!(reads, 1.0, "of the changed stream");
    socket.assert_quiet().await;
}

/// The rights are those of the new definition.
#[tokio::test(flavor = "multi_thread")]
async fn changed_rights_are_checked_anew() {
    let with = |authorize: &str| {
        let streams = file(&[("one", COUNT)]);
        let key = "key_field = \"k\"";
        streams.replacen(key, &format!("{key}\nauthorize = \"{authorize}\""), 1)
    };
    let owners = "SELECT o.k FROM owners o WHERE o.id = $1::uuid AND o.k = ANY ($2)";
    let server = Reloadable::start(&with(owners)).await;
    server
        .execute(&format!("INSERT INTO owners VALUES ('{ADMIN_OF_B1}', 'a')"))
        .await;
    let mut owner = server
        .app
        .connect_socket(&server.app.token(ADMIN_OF_B1))
        .await;
    let mut other = server
        .app
        .connect_socket(&server.app.token(OTHER_USER))
        .await;
    assert_eq!(owner.subscribe_as("one:a", "one").await["data"]["n"], 2);
    let error = other.subscribe_as("one:a", "error").await;
    assert_eq!(error["data"]["code"], "forbidden");
    let everybody_else = "SELECT k FROM unnest($2::text[]) k WHERE NOT EXISTS (SELECT FROM owners o WHERE o.id = $1::uuid)";
    assert_eq!(server.reload(&with(everybody_else)).await, "~one");
    let error = owner.next().await;
    assert_eq!(error["data"]["code"], "forbidden", "{error}");
    assert_eq!(other.subscribe_as("one:a", "one").await["data"]["n"], 2);
    server.execute("INSERT INTO rows VALUES ('a', 4)").await;
    assert_eq!(next_number(&mut other, "one").await, 3);
    owner.assert_quiet().await;
}

/// The answer about the right of the old definition does not count for the new one.
#[tokio::test(flavor = "multi_thread")]
async fn permission_under_way_is_asked_again() {
    let with = |condition: &str| {
        let key = "key_field = \"k\"";
        let sql = format!("SELECT k FROM unnest($2::text[]) k WHERE $1 <> '' AND {condition}");
        file(&[("one", COUNT)]).replacen(key, &format!("{key}\nauthorize = \"{sql}\""), 1)
    };
    let slow = |answer: &str| with(&format!("{answer} IN (SELECT true FROM pg_sleep(3))"));
    let server = Reloadable::start(&slow("true")).await;
    let mut socket = server
        .app
        .connect_socket(&server.app.token(OTHER_USER))
        .await;
    for (old, new, expected) in [("true", "false", "error"), ("false", "true", "one")] {
        server.reload(&slow(old)).await;
        let subscribe = json!({"type": "subscribe", "channel": "one:a"});
        socket.send(&subscribe).await;
        socket.assert_quiet().await;
        assert_eq!(server.reload(&with(new)).await, "~one");
        let frame = socket.next_of_type(expected).await;
        assert_eq!(
            frame["data"]["code"] == "forbidden",
            expected == "error",
            "{frame}"
        );
    }
}

/// Reads events until one satisfies the condition, and returns all of them.
async fn events_until(
    events: &mut (impl futures_util::Stream<Item = String> + Unpin),
    satisfied: impl Fn(&str) -> bool,
) -> String {
    let mut text = String::new();
    while !satisfied(&text) {
        let chunk = tokio::time::timeout(crate::harness::TEST_TIMEOUT, events.next());
        match chunk.await.expect("in time") {
            Some(chunk) => text.push_str(&chunk),
            None => panic!("the stream ended: {text}"),
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_follow_their_channels() {
    let server = Reloadable::start(&file(&[("one", COUNT), ("other", MAX)])).await;
    let open = async |path: &str| {
        let request = server.app.request(reqwest::Method::GET, path);
        let response = request.bearer_auth(server.admin()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let bytes = response.bytes_stream();
        Box::pin(bytes.map(|bytes| String::from_utf8(bytes.unwrap().to_vec()).unwrap()))
    };
    let mut single = open("/one/a/events").await;
    let mut several = open("/events?channel=one:a&channel=other:a").await;
    events_until(&mut single, |text| text.contains(r#""n":2"#)).await;
    let both = |text: &str| text.contains("event:one") && text.contains("event:other");
    events_until(&mut several, both).await;
    let changed = file(&[("one", SUM), ("other", MAX)]);
    assert_eq!(server.reload(&changed).await, "~one =other");
    events_until(&mut single, |text| text.contains(r#""n":3"#)).await;
    events_until(&mut several, |text| text.contains(r#""n":3"#)).await;
    assert_eq!(server.reload(&file(&[("other", MAX)])).await, "-one =other");
    events_until(&mut single, |text| text.contains("unknown_channel")).await;
    assert!(single.next().await.is_none(), "the only channel ended");
    events_until(&mut several, |text| text.contains("unknown_channel")).await;
    server.app.wait_until_covered().await;
    server.execute("INSERT INTO rows VALUES ('a', 30)").await;
    events_until(&mut several, |text| text.contains(r#""n":30"#)).await;
}

/// A request that waits for its first row gets that of the stream that has the name then.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_request_gets_the_row_of_the_new_stream() {
    let server = Reloadable::start(&file(&[("one", COUNT)])).await;
    let slow = file(&[("one", "count(*) + (SELECT 0 FROM pg_sleep(4))")]);
    assert_eq!(server.reload(&slow).await, "~one");
    let url = format!("http://{}/one/a", server.app.address());
    let request = crate::harness::http_client()
        .get(url)
        .bearer_auth(server.admin());
    let waiting = tokio::spawn(request.send());
    wait_until("a read", async || {
        server.app.metric("latido_topics").await == 1.0
    })
    .await;
    assert_eq!(server.reload(&file(&[("one", SUM)])).await, "~one");
    let response = waiting.await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let row: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(row["n"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_sql_file_is_a_stream_and_unknown_keys_are_mended() {
    let database = TestDatabase::create(&[]).await;
    let db = database.client().await;
    db.batch_execute(super::TABLES).await.unwrap();
    let server = Reloadable::start_on(Store::Shared(database), &file(&[("one", COUNT)]), &[]).await;
    let streams = server.folder.path().join("streams");
    std::fs::create_dir(&streams).unwrap();
    let sql = "SELECT u.k, s.* FROM unnest($1::text[]) AS u (k) CROSS JOIN LATERAL (SELECT sum(r.m) AS n FROM later r WHERE r.k = u.k) s";
    std::fs::write(streams.join("two.sql"), sql).unwrap();
    let error = server.try_reload().await.unwrap_err().to_string();
    assert!(error.contains("stream two: "), "{error}");
    let mut socket = server.connect().await;
    socket.subscribe_as("one:a", "one").await;
    server
        .execute("CREATE TABLE later (k text, m int); INSERT INTO later VALUES ('a', 9)")
        .await;
    assert_eq!(server.reload(&file(&[("one", COUNT)])).await, "+two =one");
    assert_eq!(socket.subscribe_as("two:a", "two").await["data"]["n"], 9);
    // What was known stays known although the database cannot tell it now.
    server.execute("ALTER TABLE later RENAME TO hidden").await;
    assert_eq!(server.reload(&file(&[("one", COUNT)])).await, "=one =two");
}
