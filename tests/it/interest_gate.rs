//! The interest gate: writers do not notify for unwatched keys, and no change is lost.
//!
//! The sweep is off in all of these tests, so nothing repairs a change that the gate would lose.

use std::time::Duration;

use serde_json::json;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::harness::{
    B1, B2, OTHER_USER, TEST_TIMEOUT, TestApp, TestSocket, booking_sql, claims, disable_sweep,
    wait_until, within,
};

/// Counts the watch locks that the servers hold in this database.
const HELD_LOCKS: &str = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database AND d.datname = current_database()
    WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted";

async fn start_app() -> TestApp {
    TestApp::with(disable_sweep).await
}

fn channel(negocio: &str) -> String {
    format!("estadisticas:{negocio}")
}

async fn connect_dashboard(app: &TestApp) -> TestSocket {
    app.connect_socket(
        &app.sign(&json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 3600})),
    )
    .await
}

/// Opens a connection that receives all notifications of the writers.
async fn listen_to_notifications(app: &TestApp) -> (Client, tokio::sync::mpsc::Receiver<String>) {
    let (client, mut connection) = tokio_postgres::connect(&app.database_url(), NoTls)
        .await
        .unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(10_000);
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                sender
                    .send(notification.payload().to_owned())
                    .await
                    .unwrap();
            }
        }
    });
    client.batch_execute("LISTEN latido").await.unwrap();
    (client, receiver)
}

/// Returns all messages sent before now, in order. A sentinel message marks the end.
async fn drain_notifications(
    listener: &Client,
    messages: &mut tokio::sync::mpsc::Receiver<String>,
) -> Vec<String> {
    listener
        .batch_execute("NOTIFY latido, 'end'")
        .await
        .unwrap();
    let mut all = Vec::new();
    loop {
        match within(messages.recv()).await.unwrap() {
            end if end == "end" => return all,
            message => all.push(message),
        }
    }
}

async fn held_locks(db: &Client) -> i64 {
    db.query_one(HELD_LOCKS, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_notify_only_while_a_viewer_watches() {
    let app = start_app().await;
    let db = app.connect_database().await;
    let (listener, mut messages) = listen_to_notifications(&app).await;
    app.book(&db, B1, "pendiente", 0).await;
    assert_eq!(
        drain_notifications(&listener, &mut messages).await,
        Vec::<String>::new()
    );
    let mut socket = connect_dashboard(&app).await;
    assert_eq!(
        socket.subscribe(&channel(B1)).await["data"]["total_citas"],
        1
    );
    app.wait_until_settled().await;
    app.book(&db, B1, "pendiente", 0).await;
    app.book(&db, B2, "pendiente", 0).await;
    assert_eq!(
        socket.next_stats(&channel(B1)).await["data"]["total_citas"],
        2
    );
    assert_eq!(
        drain_notifications(&listener, &mut messages).await,
        [format!(r#"["estadisticas","{B1}"]"#)]
    );
    db.batch_execute("TRUNCATE citas").await.unwrap();
    assert_eq!(
        drain_notifications(&listener, &mut messages).await,
        [r#"["estadisticas",null]"#],
        "a change without a key is always notified"
    );
    socket.close().await;
    // The lock is kept for a while, for viewers that return. Then the writers of its keys stop
    // notifying.
    app.assert_metric_settles("latido_interest_held", 0.0).await;
    app.book(&db, B1, "pendiente", 0).await;
    assert_eq!(
        drain_notifications(&listener, &mut messages).await,
        Vec::<String>::new()
    );
}

/// A storm of changes of one key is polled, and its writers stop notifying. They notify again when
/// the storm is over.
#[tokio::test(flavor = "multi_thread")]
async fn hot_key_is_polled_and_its_writers_do_not_notify() {
    let app = TestApp::with(|config| {
        disable_sweep(config);
        // The default threshold is hundreds of changes per second, too many for a slow machine.
        config.engine.pacing.hot_from = Some(5);
    })
    .await;
    let db = app.connect_database().await;
    let (listener, mut messages) = listen_to_notifications(&app).await;
    let mut socket = connect_dashboard(&app).await;
    socket.subscribe(&channel(B1)).await;
    app.wait_until_settled().await;
    let mut booked = 0;
    // Polling ends after a second without a change, which a busy machine can cause. A round in
    // which it ended proves nothing and is repeated.
    let notified = async {
        loop {
            let storms = app.metric("latido_hot_keys_total").await;
            for _ in 0..10 {
                app.book(&db, B1, "pendiente", 0).await;
            }
            booked += 10;
            if held_locks(&db).await > 0 {
                continue;
            }
            drain_notifications(&listener, &mut messages).await;
            for _ in 0..100 {
                app.book(&db, B1, "pendiente", 0).await;
            }
            booked += 100;
            let notified = drain_notifications(&listener, &mut messages).await;
            let is_polled = held_locks(&db).await == 0;
            if is_polled && app.metric("latido_hot_keys_total").await == storms {
                return notified;
            }
        }
    };
    assert_eq!(
        within(notified).await,
        Vec::<String>::new(),
        "no notification is needed"
    );
    socket
        .stats_until(&channel(B1), |data| data["total_citas"] == booked)
        .await;
    // Without changes for a while the key is watched again, with exact notifications.
    app.wait_until_settled().await;
    drain_notifications(&listener, &mut messages).await;
    app.book(&db, B1, "atendida", 0).await;
    socket
        .stats_until(&channel(B1), |data| data["citas_completadas"] == 1)
        .await;
    assert_eq!(
        drain_notifications(&listener, &mut messages).await,
        [format!(r#"["estadisticas","{B1}"]"#)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn open_transaction_of_a_silent_writer_is_awaited() {
    let app = start_app().await;
    let mut db = app.connect_database().await;
    let silent = db.transaction().await.unwrap();
    app.book(&silent, B1, "pendiente", 0).await;
    let mut socket = connect_dashboard(&app).await;
    assert_eq!(
        socket.subscribe(&channel(B1)).await["data"]["total_citas"],
        0,
        "viewers need not wait for the writer"
    );
    let other = app.connect_database().await;
    app.book(&other, B1, "pendiente", 0).await;
    socket
        .stats_until(&channel(B1), |data| data["total_citas"] == 1)
        .await;
    silent.commit().await.unwrap();
    socket
        .stats_until(&channel(B1), |data| data["total_citas"] == 2)
        .await;
    app.assert_metric_settles("latido_interest_missing", 0.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_viewer_misses_no_commit() {
    let app = start_app().await;
    let mut random = fastrand::Rng::new();
    let businesses: Vec<_> = (0..6)
        .map(|n| format!("00000000-0000-4000-8000-{n:012}"))
        .collect();
    let mut expected = [0i64; 6];
    for round in 0..60 {
        let n = random.usize(0..6);
        let (before, open) = (random.u64(0..15), random.u32(0..120));
        let (id, url) = (businesses[n].clone(), app.database_url());
        let writer = tokio::spawn(async move {
            let db = crate::harness::try_connect(&url).await.unwrap();
            tokio::time::sleep(Duration::from_millis(before)).await;
            let sql = format!(
                "BEGIN; {}; SELECT pg_sleep({}); COMMIT",
                booking_sql(&id, "pendiente", 0),
                f64::from(open) / 1000.0
            );
            db.batch_execute(&sql).await.unwrap();
        });
        let mut socket = connect_dashboard(&app).await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..20))).await;
        socket
            .send(&json!({"type": "subscribe", "channel": channel(&businesses[n])}))
            .await;
        writer.await.unwrap();
        expected[n] += 1;
        let wanted = expected[n];
        let name = channel(&businesses[n]);
        let seen = socket.stats_until(&name, |data| data["total_citas"] == wanted);
        let seen = tokio::time::timeout(TEST_TIMEOUT, seen).await;
        assert!(seen.is_ok(), "round {round}: {before} ms, open {open} ms");
        if random.bool() {
            socket.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_lock_connection_is_detected_and_restored() {
    let app = start_app().await;
    let db = app.connect_database().await;
    let mut socket = connect_dashboard(&app).await;
    socket.subscribe(&channel(B1)).await;
    for round in 1..=3 {
        let kill = HELD_LOCKS.replace("count(*)", "pg_terminate_backend(pid)");
        db.batch_execute(&kill).await.unwrap();
        app.book(&db, B1, "pendiente", 0).await;
        socket
            .stats_until(&channel(B1), |data| data["total_citas"] == round)
            .await;
        app.assert_metric_settles("latido_interest_held", 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_the_interest_gate() {
    let app = start_app().await;
    let second = app.start_second().await;
    let db = app.connect_database().await;
    let (mut here, mut there) = (
        connect_dashboard(&app).await,
        connect_dashboard(&second).await,
    );
    here.subscribe(&channel(B1)).await;
    there.subscribe(&channel(B1)).await;
    app.book(&db, B1, "pendiente", 0).await;
    here.next_stats(&channel(B1)).await;
    there.next_stats(&channel(B1)).await;
    here.close().await;
    app.assert_metric_settles("latido_interest_held", 0.0).await;
    app.book(&db, B1, "pendiente", 0).await;
    assert_eq!(
        there.next_stats(&channel(B1)).await["data"]["total_citas"],
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_with_thousands_of_keys_takes_few_locks_and_notifies_watched_ones() {
    let app = start_app().await;
    let mut db = app.connect_database().await;
    db.batch_execute("INSERT INTO negocios (id, nombre) SELECT gen_random_uuid(), 'n' || n FROM generate_series(1, 1500) AS n")
        .await
        .unwrap();
    let (listener, mut messages) = listen_to_notifications(&app).await;
    let everywhere = "INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin) SELECT id, current_date, '10:00', '11:00' FROM negocios";
    let writer = db.transaction().await.unwrap();
    writer.batch_execute(everywhere).await.unwrap();
    let locks =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    let locks: i64 = writer.query_one(locks, &[]).await.unwrap().get(0);
    assert!((700..=1024).contains(&locks), "{locks}");
    writer.commit().await.unwrap();
    assert_eq!(
        drain_notifications(&listener, &mut messages).await,
        Vec::<String>::new()
    );
    let mut socket = connect_dashboard(&app).await;
    assert_eq!(
        socket.subscribe(&channel(B1)).await["data"]["total_citas"],
        1
    );
    app.wait_until_settled().await;
    db.batch_execute(everywhere).await.unwrap();
    assert_eq!(
        socket.next_stats(&channel(B1)).await["data"]["total_citas"],
        2
    );
    let payloads = drain_notifications(&listener, &mut messages).await;
    assert!(
        payloads.len() == 1 && payloads[0].contains(B1) && payloads[0].len() < 1_000,
        "its bucket alone: {payloads:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_always_notify_without_the_gate() {
    let app = TestApp::without_interest_gate().await;
    let db = app.connect_database().await;
    let (listener, mut messages) = listen_to_notifications(&app).await;
    app.book(&db, B1, "pendiente", 0).await;
    assert_eq!(drain_notifications(&listener, &mut messages).await.len(), 1);
    let mut socket = connect_dashboard(&app).await;
    socket.subscribe(&channel(B1)).await;
    app.book(&db, B1, "pendiente", 0).await;
    assert_eq!(
        socket.next_stats(&channel(B1)).await["data"]["total_citas"],
        2
    );
    wait_until("the notification has the same effect", async || {
        app.metric("latido_listener_up").await == 1.0
    })
    .await;
}

/// Writes at random for the storm below: one row, several rows, a transaction that stays open, one
/// that is rolled back, and one statement for all businesses.
async fn run_random_writer(url: String, businesses: Vec<String>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let db = crate::harness::try_connect(&url).await.unwrap();
    for _ in 0..25 {
        let one = booking_sql(
            &businesses[random.usize(0..businesses.len())],
            "pendiente",
            0,
        );
        let another = booking_sql(
            &businesses[random.usize(0..businesses.len())],
            "atendida",
            0,
        );
        let open = f64::from(random.u32(0..60)) / 1000.0;
        let everywhere = "INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin) SELECT id, current_date, '10:00', '11:00' FROM negocios";
        let sql = match random.u32(0..10) {
            0..5 => one,
            5..7 => format!("BEGIN; {one}; SELECT pg_sleep({open}); {another}; COMMIT"),
            7 => format!("BEGIN; {one}; SELECT pg_sleep({open}); ROLLBACK"),
            8 => format!(
                "BEGIN; {one}; SAVEPOINT s; {another}; ROLLBACK TO s; SELECT pg_sleep({open}); COMMIT"
            ),
            _ => everywhere.to_owned(),
        };
        db.batch_execute(&sql).await.unwrap();
    }
}

/// Reads frames for as long as it is polled.
async fn discard_frames(socket: &mut TestSocket) {
    loop {
        socket.next().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storm_of_writers_and_viewers_on_two_servers_loses_nothing() {
    // The slower the writers, the more messages the viewers send meanwhile.
    let limits = [
        ("MAX_MESSAGES_PER_SECOND", "10000"),
        ("MESSAGE_BURST", "10000"),
    ];
    let first = TestApp::with_settings(&limits, disable_sweep).await;
    let second = first.start_second_with(&limits).await;
    let db = first.connect_database().await;
    let businesses: Vec<_> = (0..12)
        .map(|n| format!("00000000-0000-4000-8000-{n:012}"))
        .collect();
    // The locks of a thousand other keys come and go with the statements that touch every business.
    // All of these keys are in the same state: silent or notifying.
    db.batch_execute(
        "INSERT INTO negocios (id, nombre) SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n FROM generate_series(0, 999) AS n ON CONFLICT DO NOTHING",
    )
    .await
    .unwrap();
    let seed = fastrand::u64(..);
    let writers = (0..4).map(|n| {
        tokio::spawn(run_random_writer(
            first.database_url(),
            businesses.clone(),
            seed.wrapping_add(n),
        ))
    });
    let writers: Vec<_> = writers.collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut here, mut there) = (
        connect_dashboard(&first).await,
        connect_dashboard(&second).await,
    );
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let name = channel(&businesses[random.usize(0..businesses.len())]);
        let socket = if random.bool() { &mut here } else { &mut there };
        let kind = if random.u32(0..3) == 0 {
            "unsubscribe"
        } else {
            "subscribe"
        };
        socket.send(&json!({"type": kind, "channel": name})).await;
        let pause = Duration::from_millis(random.u64(0..15));
        // A client that reads nothing for long is closed.
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = discard_frames(&mut here) => {}
            () = discard_frames(&mut there) => {}
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for business in &businesses {
        let truth = format!("SELECT count(*) FROM citas WHERE negocio_id = '{business}'");
        let truth: i64 = db.query_one(&truth, &[]).await.unwrap().get(0);
        for socket in [&mut here, &mut there] {
            socket
                .send(&json!({"type": "subscribe", "channel": channel(business)}))
                .await;
            let right = async {
                while socket.next_stats(&channel(business)).await["data"]["total_citas"] != truth {}
            };
            assert!(
                tokio::time::timeout(TEST_TIMEOUT, right).await.is_ok(),
                "seed {seed}: {business} is not {truth}"
            );
        }
    }
}
