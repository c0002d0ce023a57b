//! `watch`: a terminal that follows a channel through everything.

use rustix::process::Signal;
use serde_json::Value;

use super::Place;
use crate::harness::{B1, Home, booking};

/// The total of a frame, as a line of `watch --json`.
fn total(line: &str) -> Option<i64> {
    let frame: Value = serde_json::from_str(line).expect("every line is a frame");
    (frame["type"] == "stats").then(|| frame["data"]["total_citas"].as_i64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_changes_and_restarts() {
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
    let people = home.start(
        &["watch", &channel, "--url", &url],
        &[("LATIDO_TOKEN", &token), ("TZ", "UTC")],
    );
    let first = watch.prints("a frame", |line| total(line).is_some()).await;
    let first = total(&first).expect("a total");
    people
        .prints("numbers", |line| line.ends_with("citas_canceladas 0"))
        .await;
    book().await;
    watch
        .prints("the change", |line| total(line) == Some(first + 1))
        .await;
    people
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
    drop((people, server));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_ends_it() {
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
    let (code, said) = watch("estadisticas:6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a22", &token).await;
    assert!(code == Some(1) && said.contains("forbidden"), "{said}");
    let (code, said) = watch("ventas:1", &token).await;
    assert!(
        code == Some(1) && said.contains("unknown_channel"),
        "{said}"
    );
    let (code, said) = watch("estadisticas:1", "a.b.c").await;
    assert!(code == Some(1) && said.contains("401"), "{said}");
    let (code, said) = watch("estadisticas", " ").await;
    assert!(
        code == Some(2)
            && said.contains("LATIDO_TOKEN: missing")
            && said.contains("CHANNEL: expected"),
        "{said}"
    );
}
