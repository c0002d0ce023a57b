//! A reload while the connections to the database sleep.

use std::collections::BTreeMap;

use serde_json::json;

use super::{COUNT, MAX, Reloadable, SUM, file};

/// The start of a server, which waits until the triggers are found, takes less.
const SLEEP: [(&str, &str); 1] = [("SLEEP_AFTER_SECONDS", "5")];

async fn wait_until_asleep(server: &Reloadable) {
    server.app.assert_metric_settles("latido_asleep", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_viewers_after_a_reload_during_the_sleep_miss_nothing() {
    let before = file(&[("changed", COUNT), ("gone", COUNT), ("kept", MAX)]);
    let server = Reloadable::start_with(&before, &SLEEP).await;
    let mut total = 3;
    wait_until_asleep(&server).await;
    let after = file(&[("added", SUM), ("changed", SUM), ("kept", MAX)]);
    server.write(&after);
    server.install().await;
    assert_eq!(server.reload(&after).await, "+added ~changed -gone =kept");
    // At once, and after the next sleep.
    for round in 1..=2 {
        server.execute("INSERT INTO rows VALUES ('a', 10)").await;
        total += 10;
        let mut socket = server.connect().await;
        for (stream, number) in [("added", total), ("changed", total), ("kept", 10)] {
            let frame = socket.subscribe_as(&format!("{stream}:a"), stream).await;
            assert_eq!(frame["data"]["n"], number, "{stream}, round {round}");
        }
        let error = socket.subscribe_as("gone:a", "error").await;
        assert_eq!(error["data"]["code"], "unknown_channel");
        // Without waiting: the first frame says that changes are seen from now on.
        let largest = 10 + round;
        server
            .execute(&format!("INSERT INTO rows VALUES ('a', {largest})"))
            .await;
        total += largest;
        let expected = [("added", total), ("changed", total), ("kept", largest)];
        let expected = BTreeMap::from(expected.map(|(stream, n)| (stream.to_owned(), json!(n))));
        let mut last = BTreeMap::new();
        while last != expected {
            let frame = socket.next().await;
            let stream = frame["type"].as_str().expect("a type").to_owned();
            last.insert(stream, frame["data"]["n"].clone());
        }
        server.execute("DELETE FROM rows WHERE n > 10").await;
        total -= largest;
        socket.close().await;
        wait_until_asleep(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_that_adds_no_stream_wakes_nothing() {
    let both = file(&[("gone", COUNT), ("kept", SUM)]);
    let server = Reloadable::start_with(&both, &SLEEP).await;
    let mut socket = server.connect().await;
    wait_until_asleep(&server).await;
    let wakes = server.app.metric("latido_wakes_total").await;
    server.set("MAX_CHANNELS", "7");
    assert_eq!(server.reload(&file(&[("kept", SUM)])).await, "-gone =kept");
    assert_eq!(server.app.metric("latido_wakes_total").await, wakes);
    assert_eq!(server.app.metric("latido_asleep").await, 1.0);
    let error = socket.subscribe_as("gone:a", "error").await;
    assert_eq!(error["data"]["code"], "unknown_channel");
    assert_eq!(socket.subscribe_as("kept:a", "kept").await["data"]["n"], 3);
}
