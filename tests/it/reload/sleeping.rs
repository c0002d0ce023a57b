//! Reloads while the connections to the database sleep.

use super::{COUNT, MAX, Reloadable, SUM, file, next_number};

#[tokio::test(flavor = "multi_thread")]
async fn only_streams_that_must_be_examined_wake_the_database() {
    let two = file(&[("one", COUNT), ("two", COUNT)]);
    let server = Reloadable::start_with(&two, &[("SLEEP_AFTER_SECONDS", "1")]).await;
    let wakes = async || server.app.metric("latido_wakes_total").await;
    let sleeps = async || {
        server.app.assert_metric_settles("latido_asleep", 1.0).await;
    };
    sleeps().await;
    let before = wakes().await;
    server.set("MAX_CHANNELS", "5");
    let mut socket = server.connect().await;
    for (toml, expected) in [(two, "=one =two"), (file(&[("one", COUNT)]), "-two =one")] {
        assert_eq!(server.reload(&toml).await, expected);
        let error = socket.subscribe_as("nothing:a", "error").await;
        assert_eq!(error["data"]["code"], "unknown_channel");
        assert_eq!(wakes().await, before, "{expected}");
        assert_eq!(server.app.metric("latido_asleep").await, 1.0, "{expected}");
    }
    let gone = socket.subscribe_as("two:a", "error").await;
    assert_eq!(gone["data"]["code"], "unknown_channel");

    let changed = file(&[("one", SUM), ("three", MAX)]);
    server.write(&changed);
    server.install().await;
    assert_eq!(server.reload(&changed).await, "+three ~one");
    assert!(wakes().await > before, "their queries are examined");
    // Nobody watches them, so the connections sleep again, and a change is not announced.
    sleeps().await;
    server.execute("INSERT INTO rows VALUES ('a', 7)").await;
    let before = wakes().await;
    let first = socket.subscribe_as("one:a", "one").await;
    assert_eq!(first["data"]["n"], 10);
    let first = socket.subscribe_as("three:a", "three").await;
    assert_eq!(first["data"]["n"], 7);
    assert_eq!(wakes().await, before + 1.0);
    server.execute("INSERT INTO rows VALUES ('a', 9)").await;
    assert_eq!(next_number(&mut socket, "one").await, 19);
}
