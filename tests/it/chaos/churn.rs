//! Memory leaks: clients connect, subscribe and disconnect while the server's memory is measured.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::chaos::env_number;
use crate::convergence::{BUSINESSES, business};
use crate::harness::{CommandHome, OTHER_USER, RunningCommand, TestApp, TestSocket, claims};

/// The number of clients that are connected at the same time.
const CONCURRENT_CLIENTS: usize = 16;
/// The interval between two measurements of the server's memory.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);
/// The share of a run that fills caches and pools. It tells nothing about a leak.
const WARM_UP: f64 = 0.25;
/// The limit in bytes per client. All state kept for a client is larger than this (a name, a
/// permit, a map entry), so a leak would be too.
const LEAK_BYTES: f64 = 32.0;
/// The minimum duration of a meaningful run, in seconds. In a shorter run, the allocator's steps
/// are larger than the measured effect.
const MIN_DURATION_S: u64 = 300;

/// Returns the slope of a line through points, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let up: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    up / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}

fn rss_kib(process: &RunningCommand) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))
        .expect("the process runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a size");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

/// Runs one short client session, which ends in a random way.
async fn run_session(url: String, token: String, mut random: fastrand::Rng) {
    let mut socket = TestSocket::connect(&url, &token).await;
    for _ in 0..random.u8(1..5) {
        socket
            .subscribe(&format!(
                "estadisticas:{}",
                business(random.usize(0..BUSINESSES))
            ))
            .await;
    }
    match random.u8(0..3) {
        0 => socket.close().await,
        1 => socket.send(&json!({"type": "nonsense"})).await,
        _ => {}
    }
}

/// Reports the slope of the whole run and of its second half, because the curve of caches that only
/// fill up flattens. A short run inside the ordinary tests only shows that the measurement works.
#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stderr,
    reason = "the figures are the result of this run"
)]
async fn churn_leaves_no_memory_behind() {
    let seconds = env_number("LATIDO_CHURN_SECONDS");
    let app = TestApp::start().await;
    let home = CommandHome::new();
    let database_url = app.database_url();
    let variables = [
        ("DATABASE_URL", database_url.as_str()),
        ("JWT_SECRET", claims::SECRET),
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
    ];
    let server = home.start(&["serve"], &variables);
    let url = format!("ws://{}/ws", server.ready_address().await);
    let token = app
        .sign(&json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 360_000}));
    let (begun, time) = (Instant::now(), Duration::from_secs(seconds.unwrap_or(3)));
    let workers: Vec<_> = (0..CONCURRENT_CLIENTS)
        .map(|_| {
            let (url, token) = (url.clone(), token.clone());
            tokio::spawn(async move {
                let (mut visits, mut broken) = (0_u64, 0_u64);
                while begun.elapsed() < time {
                    // Each client gets its own task: on an overloaded machine it may be so slow
                    // that the server closes it.
                    match tokio::spawn(run_session(
                        url.clone(),
                        token.clone(),
                        fastrand::Rng::new(),
                    ))
                    .await
                    {
                        Ok(()) => visits += 1,
                        Err(_) => broken += 1,
                    }
                }
                (visits, broken)
            })
        })
        .collect();
    let mut points = Vec::new();
    while begun.elapsed() < time {
        points.push((begun.elapsed().as_secs_f64(), rss_kib(&server)));
        sleep(SAMPLE_INTERVAL).await;
    }
    let (mut visits, mut broken) = (0, 0);
    for worker in workers {
        let (completed, aborted) = worker.await.expect("the task ends");
        (visits, broken) = (visits + completed, broken + aborted);
    }
    let warm = &points[(points.len() as f64 * WARM_UP) as usize..];
    let (first, last) = (
        warm.first().expect("points").1,
        warm.last().expect("points").1,
    );
    let (whole, late) = (slope(warm), slope(&points[points.len() / 2..]));
    let a_visit = late * 1024.0 * time.as_secs_f64() / visits as f64;
    eprintln!(
        "{visits} visits in {time:?}, {broken} broken off: {first:.0} KiB, then {last:.0} KiB; slope {:.1} KiB a minute, in the last half {:.1}, {a_visit:.1} bytes a visit",
        whole * 60.0,
        late * 60.0
    );
    assert!(
        broken <= visits / 100,
        "{broken} sessions failed, {visits} succeeded"
    );
    assert!(
        seconds.is_none_or(|seconds| seconds < MIN_DURATION_S) || a_visit < LEAK_BYTES,
        "the server grows"
    );
}
