//! The `watch` command: it follows a channel in a terminal through all interruptions.

use rustix::process::Signal;
use serde_json::Value;

use super::Place;
use crate::harness::{B1, Home, booking};

/// Returns the total of a frame, given a line of `watch --json`.
fn total(line: &str) -> Option<i64> {
    let frame: Value = serde_json::from_str(line).expect("every line is a frame");
    (frame["type"] == "stats").then(|| frame["data"]["total_citas"].as_i64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_follows_changes_and_restarts() {
    let place = Place::new().await;
    place.print(&["install"]).await;
    let (token, client) = (place.token(B1).await, place.database.client().await);
    let book = async || {
        client
            .batch_execute(&booking(B1, "pendiente", 0))
            .await
            .expect("booked")
    };
    let server = place.start(&["serve"], &[]);
    let address = server.address().await;

    let (channel, url) = (format!("estadisticas:{B1}"), format!("ws://{address}"));
    let home = Home::new();
    let watch = home.start(
        &["watch", &channel, "--url", &url, "--json"],
        &[("LATIDO_TOKEN", &token)],
    );
    let text_watch = home.start(
        &["watch", &channel, "--url", &url],
        &[("LATIDO_TOKEN", &token), ("TZ", "UTC")],
    );
    let first = watch.prints("a frame", |line| total(line).is_some()).await;
    let first = total(&first).expect("a total");
    text_watch
        .prints("numbers", |line| line.ends_with("citas_canceladas 0"))
        .await;
    book().await;
    watch
        .prints("the change", |line| total(line) == Some(first + 1))
        .await;
    text_watch
        .prints("the change", |line| {
            line.contains(&format!("total_citas {}", first + 1))
        })
        .await;

    server.signal(Signal::TERM);
    assert_eq!(server.finished().await.code, Some(0));
    watch
        .says("the reason", |line| {
            line.contains("the server restarts (1012)") && line.contains("reconnecting in")
        })
        .await;
    book().await;
    let port = address.port().to_string();
    let server = place.start(&["serve"], &[("PORT", &port)]);
    watch
        .prints("the number afterwards", |line| {
            total(line) == Some(first + 2)
        })
        .await;
    book().await;
    watch
        .prints("a change afterwards", |line| total(line) == Some(first + 3))
        .await;

    watch.signal(Signal::INT);
    let finished = watch.finished().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.err.contains(&token), "{}", finished.err);
    drop((text_watch, server));
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_ends_on_permanent_errors() {
    let place = Place::new().await;
    place.print(&["install"]).await;
    let server = place.start(&["serve"], &[]);
    let url = format!("ws://{}", server.ready().await);
    let token = place.token(B1).await;
    let watch = async |channel: &str, token: &str| {
        let finished = place
            .home
            .run(
                &["watch", channel, "--url", &url],
                &[("LATIDO_TOKEN", token)],
            )
            .await;
        (finished.code, finished.err)
    };
    let (code, output) = watch("estadisticas:6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a22", &token).await;
    assert!(code == Some(1) && output.contains("forbidden"), "{output}");
    let (code, output) = watch("ventas:1", &token).await;
    assert!(
        code == Some(1) && output.contains("unknown_channel"),
        "{output}"
    );
    let (code, output) = watch("estadisticas:1", "a.b.c").await;
    assert!(code == Some(1) && output.contains("401"), "{output}");
    let (code, output) = watch("estadisticas", " ").await;
    assert!(
        code == Some(2)
            && output.contains("LATIDO_TOKEN: missing")
            && output.contains("CHANNEL: expected"),
        "{output}"
    );
}
