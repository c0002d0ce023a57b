//! The `watch` command: it follows a channel in a terminal through all interruptions.

use rustix::process::Signal;
use serde_json::Value;

use super::CommandSetup;
use crate::harness::{B1, CommandHome, ReservedPort, booking_sql};

/// Returns the total of a frame, given a line of `watch --json`.
fn total(line: &str) -> Option<i64> {
    let frame: Value = serde_json::from_str(line).expect("every line is a frame");
    (frame["type"] == "stats").then(|| frame["data"]["total_citas"].as_i64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_follows_changes_and_restarts() {
    let place = CommandSetup::new().await;
    place.print(&["install"]).await;
    let (token, client) = (place.token(B1).await, place.database.client().await);
    let book = async || {
        client
            .batch_execute(&booking_sql(B1, "pendiente", 0))
            .await
            .expect("booked")
    };
    // The server comes back at the same address.
    let port = ReservedPort::new();
    let number = port.number();
    let place_variables = [("PORT", number.as_str()), ("REUSE_PORT", "true")];
    let server = place.start(&["serve"], &place_variables);
    let address = server.listen_address().await;

    let (channel, url) = (format!("estadisticas:{B1}"), format!("ws://{address}"));
    let home = CommandHome::new();
    let watch = home.start(
        &["watch", &channel, "--url", &url, "--json"],
        &[("LATIDO_TOKEN", &token)],
    );
    let text_watch = home.start(
        &["watch", &channel, "--url", &url],
        &[("LATIDO_TOKEN", &token), ("TZ", "UTC")],
    );
    let first = watch
        .wait_for_stdout("a frame", |line| total(line).is_some())
        .await;
    let first = total(&first).expect("a total");
    text_watch
        .wait_for_stdout("numbers", |line| line.ends_with("citas_canceladas 0"))
        .await;
    book().await;
    watch
        .wait_for_stdout("the change", |line| total(line) == Some(first + 1))
        .await;
    text_watch
        .wait_for_stdout("the change", |line| {
            line.contains(&format!("total_citas {}", first + 1))
        })
        .await;

    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().await.code, Some(0));
    watch
        .wait_for_stderr("the reason", |line| {
            line.contains("the server restarts (1012)") && line.contains("reconnecting in")
        })
        .await;
    book().await;
    let server = place.start(&["serve"], &place_variables);
    watch
        .wait_for_stdout("the number afterwards", |line| {
            total(line) == Some(first + 2)
        })
        .await;
    book().await;
    watch
        .wait_for_stdout("a change afterwards", |line| total(line) == Some(first + 3))
        .await;

    watch.signal(Signal::INT);
    let finished = watch.wait_for_exit().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.stderr.contains(&token), "{}", finished.stderr);
    drop((text_watch, server));
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_ends_on_permanent_errors() {
    let place = CommandSetup::new().await;
    place.print(&["install"]).await;
    let server = place.start(&["serve"], &[]);
    let url = format!("ws://{}", server.ready_address().await);
    let token = place.token(B1).await;
    let watch = async |channel: &str, token: &str| {
        let finished = place
            .home
            .run(
                &["watch", channel, "--url", &url],
                &[("LATIDO_TOKEN", token)],
            )
            .await;
        (finished.code, finished.stderr)
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
    let (code, output) = watch("", " ").await;
    assert!(
        code == Some(2)
            && output.contains("LATIDO_TOKEN: missing")
            && output.contains("CHANNEL: expected"),
        "{output}"
    );
}
