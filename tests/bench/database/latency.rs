//! The latency from COMMIT to the frame, next to the sum of its unavoidable parts: the notification
//! to a listener, one read of the same statement, and one write of as many bytes to a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

use crate::cluster::{BenchCluster, Durability, connect};
use crate::database::citas;
use crate::database::durations::Durations;
use crate::database::viewer::BenchViewer;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::server::{LatidoServer, LatidoSettings};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "commit-to-frame",
    about: "COMMIT to the frame at the client, beside the bare sum of its three steps",
    run,
};

const BUSINESSES: usize = 1_000;
/// The number of citas, a hundred per business.
const CITAS: usize = 100_000;
/// The business whose changes Latido reports, and below it the one that only the bare listener
/// receives.
const LATIDO_BUSINESS: usize = 1;
const BARE_BUSINESS: usize = 2;
/// The commits of a measurement. Both sides take turns of [`TURN`] commits.
const COMMITS: usize = 1_000;
const TURN: usize = 50;
/// The size of a frame, in bytes.
const FRAME_BYTES: usize = 150;
/// The rate of background commits, per second.
const BACKGROUND_RATE: u32 = 1_000;

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Disk, None)?;
    let database = citas::database(&store, bench.runtime(), "latency", BUSINESSES, CITAS)?;
    citas::run_sql(
        bench.runtime(),
        &database,
        &["ALTER DATABASE latency SET synchronous_commit = on"],
    )?;
    let latido = LatidoServer::start(&LatidoSettings {
        core: None,
        ..LatidoSettings::new(&database)
    })?;
    let commits = bench.count(COMMITS);
    let watched_keys: Vec<usize> = (100..150).collect();
    let backgrounds = [
        ("quiet", 0..0),
        ("beside 1,000 unwatched commits/s", 200..1_000),
        ("beside 1,000 watched commits/s", 100..150),
    ];
    for _ in 0..bench.rounds() {
        for (name, writers) in backgrounds.clone() {
            let (latido_times, bare) = bench.runtime().block_on(async {
                let watched: &[usize] = if writers.start == 100 {
                    &watched_keys
                } else {
                    &[]
                };
                let others = tokio::spawn(drain(BenchViewer::connect(latido.port, watched).await?));
                let noise = BackgroundCommits::start(&database.url, writers);
                let measured = measure(&database.url, latido.port, commits).await;
                noise.stop().await;
                others.abort();
                measured
            })?;
            for (subject, times) in [("latido", latido_times), ("bare sum", bare)] {
                bench.sample(subject, &format!("p50 {name}"), "µs", times.quantile(0.5));
                bench.sample(subject, &format!("p99 {name}"), "µs", times.quantile(0.99));
            }
        }
    }
    for (name, _) in backgrounds {
        bench.goal(Goal::ratio(
            "latido",
            &format!("p50 {name}"),
            "bare sum",
            GoalBound::AtMost(1.15),
        ));
        bench.goal(Goal::ratio(
            "latido",
            &format!("p99 {name}"),
            "bare sum",
            GoalBound::AtMost(3.0),
        ));
    }
    bench.note(format!("from sending COMMIT; {commits} commits each, in turns of {TURN}; READ_INTERVAL_MS=0, since the first change of a key is read at once in any case"));
    Ok(())
}

async fn drain(mut viewer: BenchViewer) {
    while viewer.next().await.is_ok() {}
}

/// Measures Latido's times and those of the bare steps in turns, on one machine within one minute.
async fn measure(url: &str, port: u16, commits: usize) -> anyhow::Result<(Durations, Durations)> {
    let writer = connect(url).await?;
    let mut viewer = BenchViewer::connect(port, &[LATIDO_BUSINESS]).await?;
    let mut bare = BareSteps::new(url).await?;
    let (mut latido_times, mut sums) = (Durations::default(), Durations::default());
    for turn in 0..2 * commits.div_ceil(TURN) {
        for _ in 0..TURN {
            if turn % 2 == 0 {
                let began = commit(&writer, LATIDO_BUSINESS).await?;
                let (committed, frame) =
                    tokio::join!(writer.batch_execute("COMMIT"), viewer.next());
                committed?;
                frame?;
                latido_times.add(began.elapsed());
            } else {
                sums.add(bare.once(&writer).await?);
            }
        }
    }
    Ok((latido_times, sums))
}

/// Changes a business in a transaction. The returned time is the one right before its COMMIT.
async fn commit(writer: &Client, business: usize) -> anyhow::Result<Instant> {
    writer
        .batch_execute(&format!("BEGIN; {}", citas::toggle_sql(business)))
        .await?;
    Ok(Instant::now())
}

/// The three unavoidable steps without anything around them.
struct BareSteps {
    notified: mpsc::Receiver<Instant>,
    _listener: Client,
    reader: Client,
    statement: Statement,
    ids: Vec<uuid::Uuid>,
    near: TcpStream,
    far: TcpStream,
}

impl BareSteps {
    async fn new(url: &str) -> anyhow::Result<Self> {
        let (listener, mut connection) = tokio_postgres::connect(url, NoTls).await?;
        let (sender, received) = mpsc::channel(1_024);
        tokio::spawn(async move {
            let key = crate::keys::key(BARE_BUSINESS);
            while let Some(Ok(message)) =
                std::future::poll_fn(|cx| connection.poll_message(cx)).await
            {
                if matches!(&message, AsyncMessage::Notification(received) if received.payload().contains(&key))
                {
                    // The receiver is not read while the other side is measured.
                    let _ = sender.try_send(Instant::now());
                }
            }
        });
        // Declares its interest as a server does; otherwise writers would not notify.
        let hash = format!(
            "hashtextextended('estadisticas:{}' COLLATE \"C\", 0)",
            crate::keys::key(BARE_BUSINESS)
        );
        let lock = |bits: u8, from: u16| {
            format!(
                "SELECT pg_advisory_lock_shared(1818326127, (({hash} >> {bits}) & 1023)::int + {from});"
            )
        };
        listener
            .batch_execute(&format!("{} {} LISTEN latido", lock(0, 0), lock(32, 1024)))
            .await?;
        let reader = connect(url).await?;
        reader.batch_execute("SET jit = off").await?;
        let statement = reader
            .prepare_typed(&citas::read_sql(), &[Type::UUID_ARRAY, Type::DATE_ARRAY])
            .await?;
        let listener_socket = TcpListener::bind("127.0.0.1:0").await?;
        let near = TcpStream::connect(listener_socket.local_addr()?).await?;
        let (far, _) = listener_socket.accept().await?;
        near.set_nodelay(true)?;
        Ok(Self {
            notified: received,
            _listener: listener,
            reader,
            statement,
            ids: citas::ids([BARE_BUSINESS])?,
            near,
            far,
        })
    }

    async fn once(&mut self, writer: &Client) -> anyhow::Result<Duration> {
        let began = commit(writer, BARE_BUSINESS).await?;
        let (committed, received) =
            tokio::join!(writer.batch_execute("COMMIT"), self.notified.recv());
        committed?;
        let hop = received
            .context("the listener ended")?
            .duration_since(began);
        let began = Instant::now();
        let [today, tomorrow] = citas::days();
        self.reader
            .query(&self.statement, &[&self.ids, &today, &tomorrow])
            .await?;
        let mut frame = [0; FRAME_BYTES];
        self.near.write_all(&frame).await?;
        self.far.read_exact(&mut frame).await?;
        Ok(hop + began.elapsed())
    }
}

/// Background commits by other writers, at an even rate until stopped.
struct BackgroundCommits {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

impl BackgroundCommits {
    fn start(url: &str, businesses: std::ops::Range<usize>) -> Self {
        const CONNECTIONS: u32 = 4;
        let stop = Arc::new(AtomicBool::new(false));
        let writers = if businesses.is_empty() {
            0
        } else {
            CONNECTIONS
        };
        let tasks = (0..writers).map(|_| {
            let (stop, url, businesses) = (Arc::clone(&stop), url.to_owned(), businesses.clone());
            tokio::spawn(async move {
                let client = connect(&url).await?;
                let mut due =
                    tokio::time::interval(Duration::from_secs(1) * CONNECTIONS / BACKGROUND_RATE);
                due.set_missed_tick_behavior(MissedTickBehavior::Burst);
                while !stop.load(Ordering::Relaxed) {
                    due.tick().await;
                    client
                        .batch_execute(&citas::toggle_sql(fastrand::usize(businesses.clone())))
                        .await?;
                }
                Ok(())
            })
        });
        Self {
            tasks: tasks.collect(),
            stop,
        }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            // A task fails only if the database is gone.
            let _ = task.await;
        }
    }
}
