//! A configuration with a mistake changes nothing.

use latido_admin::ReloadError;
use reqwest::Method;
use serde_json::Value;

use super::{COUNT, Reloadable, SUM, Store, TABLES, file, next_number};
use crate::harness::cluster::OwnCluster;
use crate::harness::{OTHER_USER, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_named_and_nothing_changes() {
    let server = Reloadable::start(&file(&[("one", COUNT), ("gone", COUNT)])).await;
    let mut socket = server.connect().await;
    socket.subscribe_as("one:a", "one").await;
    socket.subscribe_as("gone:a", "gone").await;
    let refused = |error: ReloadError| match error {
        ReloadError::Mistakes(mistakes) => mistakes,
        ReloadError::Unavailable(reason) => panic!("{reason}"),
    };
    server.set("MAX_CHANNELS", "none");
    server.write(&format!(
        "{}\n[streams.bad]\nfoo = 1",
        file(&[("one", SUM)])
    ));
    let mistakes = refused(server.try_reload().await.unwrap_err());
    let has = |text: &str| mistakes.iter().any(|mistake| mistake.contains(text));
    assert!(
        has("MAX_CHANNELS") && has("foo") && has("streams.bad"),
        "{mistakes:?}"
    );
    server.set("MAX_CHANNELS", "1");
    // The database finds these.
    server.write(&file(&[
        ("one", SUM),
        ("bad", "absent(r.n)"),
        ("worse", "r.absent"),
    ]));
    let mistakes = refused(server.try_reload().await.unwrap_err());
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].contains("stream bad") && mistakes[0].contains("absent"));
    assert!(mistakes[1].contains("stream worse"));
    server.app.wait_until_covered().await;
    server.execute("INSERT INTO rows VALUES ('a', 4)").await;
    let mut frames = [socket.next().await, socket.next().await];
    frames.sort_by_key(|frame| frame["channel"].to_string());
    let numbers = frames.map(|frame| frame["data"]["n"].clone());
    assert_eq!(numbers, [3, 3], "of the old queries");
    socket.subscribe_as("one:b", "one").await;
    socket.assert_quiet().await;
    // What was refused leaves nothing behind.
    let mended = file(&[("one", SUM), ("bad", COUNT)]);
    assert_eq!(server.reload(&mended).await, "+bad ~one -gone");
}

/// Nobody could watch the stream, although somebody can now.
#[tokio::test(flavor = "multi_thread")]
async fn refused_query_for_rights_is_a_mistake() {
    let with = |authorize: &str| {
        let key = "key_field = \"k\"";
        let streams = file(&[("one", COUNT)]);
        streams.replacen(key, &format!("{key}\nauthorize = \"{authorize}\""), 1)
    };
    let of = |table: &str| format!("SELECT k FROM {table} WHERE $1 <> '' AND k = ANY ($2)");
    let server = Reloadable::start(&with(&of("rows"))).await;
    for refused in [of("absent"), of("rows").replace("k FROM", "$4 FROM")] {
        server.write(&with(&refused));
        let error = server.try_reload().await.unwrap_err();
        let ReloadError::Mistakes(mistakes) = &error else {
            panic!("{error}");
        };
        assert_eq!(mistakes.len(), 1, "{error}");
        assert!(
            mistakes[0].contains("authorize query of stream one"),
            "{error}"
        );
    }
    let token = server.app.token(OTHER_USER);
    let mut socket = server.app.connect_socket(&token).await;
    assert_eq!(socket.subscribe_as("one:a", "one").await["data"]["n"], 2);
    // An id that is no number is not the query's fault.
    let number = "SELECT k FROM rows WHERE $1::bigint > 0 AND k = ANY ($2)";
    assert_eq!(server.reload(&with(number)).await, "~one");
}

#[tokio::test(flavor = "multi_thread")]
async fn database_that_is_away_changes_nothing() {
    let cluster = OwnCluster::start(&[]).await;
    cluster.client().await.batch_execute(TABLES).await.unwrap();
    let one = file(&[("one", COUNT)]);
    let mut server = Reloadable::start_on(Store::Own(Box::new(cluster)), &one, &[]).await;
    let mut socket = server.connect().await;
    socket.subscribe_as("one:a", "one").await;
    let Store::Own(cluster) = &mut server.store else {
        panic!("a cluster of its own")
    };
    cluster.kill().await;
    server.write(&file(&[("one", SUM)]));
    let error = server.try_reload().await.unwrap_err();
    assert!(matches!(&error, ReloadError::Unavailable(_)), "{error}");
    // Limits need no database.
    server.write(&one);
    server.set("MAX_CHANNELS", "1");
    assert_eq!(server.try_reload().await.unwrap().limits, ["MAX_CHANNELS"]);
    let Store::Own(cluster) = &mut server.store else {
        panic!("a cluster of its own")
    };
    cluster.restart().await;
    server.write(&file(&[("one", SUM)]));
    wait_until("the database is back", async || {
        server.try_reload().await.is_ok()
    })
    .await;
    assert_eq!(next_number(&mut socket, "one").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_alone_may_reload() {
    let server = Reloadable::start(&file(&[("one", COUNT)])).await;
    let post = async |path: &str, token: Option<String>| {
        let mut request = server.app.request(Method::POST, path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.text().await.unwrap();
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        (status, body)
    };
    server.write(&file(&[("one", SUM), ("two", SUM)]));
    for path in ["/dashboard/reload", "/api/dashboard/reload"] {
        assert_eq!(post(path, None).await.0, 401);
        let user = server.app.token(OTHER_USER);
        assert_eq!(post(path, Some(user)).await.0, 403);
        let get = server
            .app
            .request(Method::GET, path)
            .bearer_auth(server.admin());
        assert_eq!(get.send().await.unwrap().status(), 405);
    }
    let (status, body) = post("/dashboard/reload", Some(server.admin())).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        (&body["added"][0], &body["changed"][0]),
        (&"two".into(), &"one".into())
    );
    server.write("[streams.one]\nfoo = 1\nbar = 2");
    let (status, body) = post("/api/dashboard/reload", Some(server.admin())).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (422, &"invalid_configuration".into())
    );
    let message = body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("foo") && message.contains("bar"),
        "{message}"
    );
}
