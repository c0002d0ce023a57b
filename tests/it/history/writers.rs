//! Random writers, a task that closes, folds and reopens days, and readers that compare both
//! queries at every moment.
//!
//! `LATIDO_SEED=n` replays the statements of the writers, but not their timing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{
    BUSINESSES, assert_queries_agree, business, count_rows, create_database, query_differences,
};
use crate::harness::wait_until;

const WRITERS: usize = 6;
const TRANSACTIONS: usize = 80;
/// The range of days from today that the writers use, including future days.
const DAYS: std::ops::Range<i32> = -20..3;

#[tokio::test(flavor = "multi_thread")]
async fn both_queries_agree_at_every_moment() {
    let seed = crate::harness::replayable_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let home = create_database().await;
    let done = Arc::new(AtomicBool::new(false));
    let (looks, closings) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = [vec![0, -25, -8, 1, -1], vec![-3, -15, 0]]
        .into_iter()
        .map(|around| {
            tokio::spawn(run_reader(
                home.url().to_owned(),
                around,
                Arc::clone(&done),
                Arc::clone(&looks),
            ))
        })
        .collect();
    let closer = tokio::spawn(run_closer(
        home.url().to_owned(),
        random.fork(),
        Arc::clone(&done),
        Arc::clone(&closings),
    ));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| tokio::spawn(run_writer(home.url().to_owned(), n, random.fork())))
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends");
    }
    // On a slow machine the other tasks may have run only a few times.
    wait_until("several closings", async || {
        closings.load(Ordering::Relaxed) >= 8 && looks.load(Ordering::Relaxed) >= 20
    })
    .await;
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("a reader ends");
    }
    closer.await.expect("the closing task ends");
    let client = home.client().await;
    assert_queries_agree(&client).await;
    super::close_days(&client, 1).await;
    assert_queries_agree(&client).await;
    assert_eq!(
        count_rows(&client, "latido_history.deltas").await,
        0,
        "nothing is left to fold"
    );
}

async fn run_reader(url: String, around: Vec<i32>, done: Arc<AtomicBool>, looks: Arc<AtomicUsize>) {
    let client = crate::harness::cluster::connect(&url).await;
    while !done.load(Ordering::Relaxed) {
        let differences = query_differences(&client, &around)
            .await
            .expect("readers never block");
        assert!(differences.is_empty(), "{differences:?}");
        looks.fetch_add(1, Ordering::Relaxed);
    }
}

async fn run_closer(
    url: String,
    mut random: fastrand::Rng,
    done: Arc<AtomicBool>,
    closings: Arc<AtomicUsize>,
) {
    let client = crate::harness::cluster::connect(&url).await;
    let mut day = DAYS.start;
    while !done.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random.u64(0..30))).await;
        let sql = match random.u8(0..10) {
            0..3 => "SELECT latido_history.fold()".to_owned(),
            // Simulates a closer that died after its first transaction.
            3 => format!(
                "SELECT latido_history.announce(greatest(announced, current_date + ({day}))) FROM latido_history.cut"
            ),
            // Moves the announced day backwards.
            4 if day % 2 == 0 => {
                day -= 5;
                format!(
                    "SET lock_timeout = '400ms'; SELECT latido_history.announce(current_date + ({day}))"
                )
            }
            4 if day > -4 => {
                day = DAYS.start;
                "SELECT latido_history.reopen()".to_owned()
            }
            _ => {
                day = (day + random.i32(1..6)).min(1);
                format!("CALL latido_history.close_before(current_date + ({day}))")
            }
        };
        match client.batch_execute(&sql).await {
            Ok(()) => drop(closings.fetch_add(1, Ordering::Relaxed)),
            Err(error) => assert_eq!(
                error.code(),
                Some(&SqlState::LOCK_NOT_AVAILABLE),
                "{sql}: {error:?}"
            ),
        }
    }
}

/// Writes only its own rows, so that two writers never wait for each other. Every wait or failure
/// is then caused by the closing.
async fn run_writer(url: String, writer: usize, mut random: fastrand::Rng) {
    let client = crate::harness::cluster::connect(&url).await;
    for _ in 0..TRANSACTIONS {
        let sql = transaction(writer, &mut random);
        if let Err(error) = run_statements(&client, &sql).await {
            // A TRUNCATE ran between a snapshot and its statement.
            assert_eq!(
                error.code(),
                Some(&SqlState::T_R_SERIALIZATION_FAILURE),
                "{sql:?}: {error:?}"
            );
        }
    }
}

async fn run_statements(client: &Client, sql: &[String]) -> Result<(), tokio_postgres::Error> {
    // Run them one by one, so that other writers interleave.
    for statement in sql {
        if let Err(error) = client.batch_execute(statement).await {
            client.batch_execute("ROLLBACK").await?;
            return Err(error);
        }
    }
    Ok(())
}

fn transaction(writer: usize, random: &mut fastrand::Rng) -> Vec<String> {
    let mut body: Vec<_> = (0..random.usize(1..4))
        .map(|_| statement(writer, random))
        .collect();
    let begin = [
        "BEGIN",
        "BEGIN",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
    ];
    match random.u8(0..40) {
        0 => return vec!["TRUNCATE citas".to_owned()],
        1..12 => return vec![statement(writer, random)],
        12..16 => body.extend([
            "SAVEPOINT a".to_owned(),
            statement(writer, random),
            "ROLLBACK TO a".to_owned(),
        ]),
        16..20 => body.extend([
            "SAVEPOINT a".to_owned(),
            statement(writer, random),
            "RELEASE a".to_owned(),
        ]),
        20..26 => body.push(format!("SELECT pg_sleep(0.0{})", random.u8(1..6))),
        _ => {}
    }
    body.insert(0, begin[random.usize(0..begin.len())].to_owned());
    body.push(
        if random.u8(0..6) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        }
        .to_owned(),
    );
    body
}

fn statement(writer: usize, random: &mut fastrand::Rng) -> String {
    let or_null = |value: String, random: &mut fastrand::Rng| {
        if random.u8(0..12) == 0 {
            "NULL".to_owned()
        } else {
            value
        }
    };
    let key = format!("'{}'", business(random.i32(0..BUSINESSES)));
    let key = or_null(key, random);
    let day = or_null(format!("current_date + ({})", random.i32(DAYS)), random);
    let state = or_null(
        format!(
            "'{}'",
            ["pendiente", "atendida", "cancelada"][random.usize(0..3)]
        ),
        random,
    );
    let some = format!(
        "id IN (SELECT id FROM citas WHERE escritor = {writer} ORDER BY random() LIMIT {})",
        random.u8(1..9)
    );
    match random.u8(0..20) {
        0..5 => format!(
            "INSERT INTO citas (negocio_id, fecha, estado, escritor) SELECT {key}::uuid, {day}, {state}, {writer} FROM generate_series(1, {})",
            random.u8(1..6)
        ),
        5 => format!(
            "INSERT INTO citas (negocio_id, fecha, estado, escritor) SELECT {key}::uuid, current_date - n, {state}, {writer} FROM generate_series(0, 19) AS n"
        ),
        6..9 => format!("UPDATE citas SET estado = {state} WHERE {some}"),
        9..11 => format!("UPDATE citas SET negocio_id = {key} WHERE {some}"),
        11..14 => format!(
            "UPDATE citas SET fecha = fecha + ({}) WHERE {some}",
            random.i32(-9..10)
        ),
        14 => format!("UPDATE citas SET fecha = {day} WHERE {some}"),
        15 => format!(
            "UPDATE citas SET negocio_id = {key}, fecha = {day}, estado = {state} WHERE {some}"
        ),
        16 => format!("UPDATE citas SET nota = 'x' WHERE {some}"),
        _ => format!("DELETE FROM citas WHERE {some}"),
    }
}
