//! The race conditions that could break a closing, one by one.

use super::{assert_queries_agree, business, close_days, count_rows, create_database, insert_cita};
use crate::harness::wait_until;

const OLD_DAY: &str = "current_date - 10";

#[tokio::test]
async fn closing_waits_for_writers_that_do_not_notify_yet() {
    let home = create_database().await;
    let (client, writer, watcher) = (
        home.client().await,
        home.client().await,
        home.client().await,
    );
    insert_cita(&client, 0, OLD_DAY, "atendida").await;
    writer.batch_execute("BEGIN").await.unwrap();
    insert_cita(&writer, 0, OLD_DAY, "cancelada").await;
    let closing = tokio::spawn(async move { close_days(&client, -2).await });
    let waits = "(SELECT FROM pg_locks WHERE relation = 'citas'::regclass AND mode = 'ShareRowExclusiveLock' AND NOT granted) AS w";
    wait_until("the closing transaction waits", async || {
        count_rows(&watcher, waits).await == 1
    })
    .await;
    assert_eq!(count_rows(&watcher, "latido_history.closed").await, 0);
    insert_cita(&writer, 1, OLD_DAY, "atendida").await;
    writer.batch_execute("COMMIT").await.unwrap();
    closing.await.unwrap();
    assert_eq!(
        (
            count_rows(&watcher, "latido_history.closed").await,
            count_rows(&watcher, "latido_history.deltas").await
        ),
        (2, 0)
    );
    assert_queries_agree(&watcher).await;
}

#[tokio::test]
async fn closing_that_times_out_changes_nothing() {
    let home = create_database().await;
    let (client, writer) = (home.client().await, home.client().await);
    writer.batch_execute("BEGIN").await.unwrap();
    insert_cita(&writer, 0, OLD_DAY, "cancelada").await;
    let error = client
        .batch_execute("CALL latido_history.close_before(current_date, '1 ms')")
        .await
        .unwrap_err();
    assert!(
        error
            .as_db_error()
            .unwrap()
            .message()
            .contains("try again later"),
        "{error:?}"
    );
    insert_cita(&writer, 0, OLD_DAY, "cancelada").await;
    writer.batch_execute("COMMIT").await.unwrap();
    assert_queries_agree(&client).await;
    assert_eq!(
        count_rows(&client, "latido_history.cut WHERE announced > '-infinity'").await,
        0
    );
}

#[tokio::test]
async fn changes_not_seen_by_a_fold_stay_pending() {
    let home = create_database().await;
    let (client, writer) = (home.client().await, home.client().await);
    insert_cita(&client, 0, OLD_DAY, "atendida").await;
    // Simulates a closer that died between its two transactions.
    client
        .batch_execute("SELECT latido_history.announce(current_date - 2)")
        .await
        .unwrap();
    insert_cita(&client, 0, OLD_DAY, "atendida").await;
    assert_queries_agree(&client).await;
    writer.batch_execute("BEGIN").await.unwrap();
    insert_cita(&writer, 0, OLD_DAY, "cancelada").await;
    insert_cita(&writer, 0, "current_date", "cancelada").await;
    client
        .batch_execute("SELECT latido_history.fold()")
        .await
        .unwrap();
    assert_queries_agree(&client).await;
    insert_cita(&writer, 1, OLD_DAY, "cancelada").await;
    assert_queries_agree(&writer).await;
    writer.batch_execute("COMMIT").await.unwrap();
    assert_eq!(count_rows(&client, "latido_history.deltas").await, 2);
    assert_queries_agree(&client).await;
    for _ in 0..2 {
        client
            .batch_execute("SELECT latido_history.fold()")
            .await
            .unwrap();
        assert_eq!(count_rows(&client, "latido_history.deltas").await, 0);
        assert_queries_agree(&client).await;
    }
}

#[tokio::test]
async fn ordinary_writers_leave_no_rows_and_closed_days_stay_correct() {
    let home = create_database().await;
    let client = home.client().await;
    for n in 0..3 {
        insert_cita(&client, n, OLD_DAY, "atendida").await;
        insert_cita(&client, n, "current_date", "pendiente").await;
        insert_cita(&client, n, "NULL", "pendiente").await;
    }
    close_days(&client, -2).await;
    let everyday = [
        "UPDATE citas SET estado = 'cancelada' WHERE fecha = current_date",
        "UPDATE citas SET fecha = current_date - 1 WHERE fecha = current_date",
        "UPDATE citas SET estado = 'cancelada' WHERE fecha IS NULL",
        "UPDATE citas SET nota = 'x'",
        "UPDATE citas SET estado = estado",
        "DELETE FROM citas WHERE fecha > current_date - 3",
    ];
    for sql in everyday {
        client.batch_execute(sql).await.unwrap();
        assert_eq!(
            count_rows(&client, "latido_history.deltas").await,
            0,
            "{sql}"
        );
        assert_queries_agree(&client).await;
    }
    let moves = format!("UPDATE citas SET negocio_id = '{}'", business(4));
    let closed = [
        (
            "UPDATE citas SET estado = 'cancelada' WHERE fecha IS NOT NULL",
            3,
        ),
        ("UPDATE citas SET fecha = NULL WHERE fecha IS NOT NULL", 3),
        ("UPDATE citas SET fecha = current_date - 9", 6),
        (moves.as_str(), 12),
        ("UPDATE citas SET fecha = current_date + 1", 6),
        (
            "SET session_replication_role = replica; UPDATE citas SET fecha = '-infinity'; RESET session_replication_role",
            6,
        ),
        ("SELECT latido_history.fold()", 0),
        ("DELETE FROM citas", 6),
    ];
    let mut before = 0;
    for (sql, rows) in closed {
        client.batch_execute(sql).await.unwrap();
        before = if rows == 0 { 0 } else { before + rows };
        assert_eq!(
            count_rows(&client, "latido_history.deltas").await,
            before,
            "{sql}"
        );
        assert_queries_agree(&client).await;
    }
}

#[tokio::test]
async fn truncate_empties_the_summary_at_every_isolation_level() {
    let home = create_database().await;
    let (client, other) = (home.client().await, home.client().await);
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        insert_cita(&client, 0, OLD_DAY, "atendida").await;
        close_days(&client, -2).await;
        client
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL {isolation}; SELECT count(*) FROM latido_history.closed"
            ))
            .await
            .unwrap();
        insert_cita(&other, 1, OLD_DAY, "atendida").await;
        other
            .batch_execute("SELECT latido_history.fold()")
            .await
            .unwrap();
        insert_cita(&other, 2, OLD_DAY, "cancelada").await;
        client.batch_execute("TRUNCATE citas").await.unwrap();
        insert_cita(&client, 3, OLD_DAY, "cancelada").await;
        client.batch_execute("COMMIT").await.unwrap();
        assert_queries_agree(&other).await;
        assert_eq!(
            count_rows(&other, "latido_history.closed").await,
            0,
            "{isolation}"
        );
        client.batch_execute("TRUNCATE citas").await.unwrap();
    }
}

#[tokio::test]
async fn days_close_forwards_and_reopen_together() {
    let home = create_database().await;
    let client = home.client().await;
    insert_cita(&client, 0, OLD_DAY, "atendida").await;
    insert_cita(&client, 0, "current_date - 4", "atendida").await;
    close_days(&client, -2).await;
    close_days(&client, -5).await;
    let closed = "latido_history.cut WHERE live_from = current_date - 2 AND announced = live_from";
    assert_eq!(count_rows(&client, closed).await, 1, "they stay closed");
    // One day more than today is allowed, for clients east of the server; later days are not.
    close_days(&client, 1).await;
    for day in ["current_date + 2", "NULL", "'infinity'"] {
        client
            .batch_execute(&format!("CALL latido_history.close_before({day})"))
            .await
            .unwrap_err();
    }
    insert_cita(&client, 0, "current_date", "atendida").await;
    assert_queries_agree(&client).await;
    client
        .batch_execute("SELECT latido_history.reopen()")
        .await
        .unwrap();
    assert_eq!(
        (
            count_rows(&client, "latido_history.closed").await,
            count_rows(&client, "latido_history.deltas").await
        ),
        (0, 0)
    );
    insert_cita(&client, 0, OLD_DAY, "atendida").await;
    assert_eq!(
        count_rows(&client, "latido_history.deltas").await,
        0,
        "writers no longer notify"
    );
    close_days(&client, -9).await;
    assert_queries_agree(&client).await;
    for sql in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT latido_history.fold()",
        "BEGIN; CALL latido_history.close_before(current_date - 1)",
    ] {
        client.batch_execute(sql).await.unwrap_err();
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    client
        .batch_execute(
            "ALTER TABLE citas DISABLE TRIGGER latido_history_upd; UPDATE citas SET estado = NULL",
        )
        .await
        .unwrap();
    let error = client
        .batch_execute("SELECT latido_history.fold()")
        .await
        .unwrap_err();
    assert!(
        error
            .as_db_error()
            .unwrap()
            .hint()
            .unwrap()
            .contains("reopen"),
        "{error:?}"
    );
    client
        .batch_execute("SELECT latido_history.reopen()")
        .await
        .unwrap();
    close_days(&client, -2).await;
    assert_queries_agree(&client).await;
}
