//! The database, the two servers, the writers and the viewers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::chaos::faults::Fault;
use crate::chaos::viewer::{Counts, Numbers, Sight, Viewer};
use crate::convergence::{BUSINESSES, business, numbers, statements};
use crate::harness::cluster::OwnCluster;
use crate::harness::fault_proxy::{FaultProxy, Mode};
use crate::harness::{Home, OTHER_USER, Running, TestApp, claims, client, try_connect};

const WRITERS: usize = 3;
const VIEWERS: usize = 4;
/// After a fault everybody is right again within this, or never: reconnecting after a dead link takes seven seconds by design, a black
/// hole eats statements up to their time-outs, and a machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module's documentation.
pub(super) struct Arena {
    pub(super) cluster: OwnCluster,
    /// One after the other in every URL: what a failover leads to.
    pub(super) roads: [FaultProxy; 2],
    /// The road that leads somewhere.
    pub(super) open: usize,
    home: Home,
    pub(super) process: Option<Running>,
    address: watch::Sender<Option<SocketAddr>>,
    pub(super) app: TestApp,
    /// Writers and hooks work while it is true.
    working: watch::Sender<bool>,
    tasks: JoinSet<()>,
    watching: Vec<JoinHandle<()>>,
    sights: Vec<Arc<Mutex<Sight>>>,
    counts: Arc<Counts>,
    written: Arc<AtomicU64>,
    hooks: Arc<AtomicU64>,
}

impl Arena {
    pub(super) async fn open(mut random: fastrand::Rng) -> Self {
        let cluster =
            OwnCluster::start_with_tcp(&["sql/schema.sql", "tests/it/sql/people.sql"]).await;
        TestApp::install_on(&cluster.url()).await;
        let port = cluster
            .tcp_url()
            .rsplit_once(':')
            .and_then(|(_, rest)| rest.split('/').next()?.parse().ok())
            .expect("a port");
        let roads = [
            FaultProxy::start(port, Mode::Pass).await,
            FaultProxy::start(port, Mode::Refuse).await,
        ];
        let app = TestApp::on(&url_over(&roads)).await;
        let mut arena = Self {
            cluster,
            roads,
            open: 0,
            home: Home::new(),
            process: None,
            address: watch::Sender::new(None),
            app,
            working: watch::Sender::new(false),
            tasks: JoinSet::new(),
            watching: Vec::new(),
            sights: Vec::new(),
            counts: Arc::default(),
            written: Arc::default(),
            hooks: Arc::default(),
        };
        arena.start_process().await;
        let in_process = watch::Sender::new(Some(arena.app.address()));
        for number in 0..VIEWERS {
            arena.watch(number, arena.address.subscribe());
            arena.watch(number + 1, in_process.subscribe());
        }
        // Viewers of the server in this process follow an address that never changes.
        arena.watching.push(tokio::spawn(async move {
            let _kept = in_process;
            std::future::pending().await
        }));
        for _ in 0..WRITERS {
            let (url, working, written) = (
                arena.cluster.url(),
                arena.working.subscribe(),
                Arc::clone(&arena.written),
            );
            arena
                .tasks
                .spawn(write(url, random.fork(), working, written));
        }
        let (addresses, working, hooks) = (
            arena.address.subscribe(),
            arena.working.subscribe(),
            Arc::clone(&arena.hooks),
        );
        arena.tasks.spawn(hook(addresses, random, working, hooks));
        arena.settle("the beginning").await;
        arena
    }

    fn watch(&mut self, number: usize, address: watch::Receiver<Option<SocketAddr>>) {
        let businesses = vec![
            business(number % BUSINESSES),
            business((number + 3) % BUSINESSES),
        ];
        let claims =
            json!({"id": OTHER_USER, "negocios": businesses, "exp": claims::now() + 360_000});
        let viewer = Viewer {
            token: claims::sign_with(claims::SECRET, &claims),
            businesses,
            forbidden: business((number + 1) % BUSINESSES),
            sight: Arc::default(),
            counts: Arc::clone(&self.counts),
        };
        self.sights.push(Arc::clone(&viewer.sight));
        self.watching.push(tokio::spawn(viewer.follow(address)));
    }

    /// Starts the server that is a process, at a port of its own.
    pub(super) async fn start_process(&mut self) {
        let url = url_over(&self.roads);
        let variables = [
            ("DATABASE_URL", url.as_str()),
            ("JWT_SECRET", claims::SECRET),
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("SWEEP_SECONDS", "86400"),
            ("SHUTDOWN_SECONDS", "2"),
            ("RUST_LOG", "latido=info"),
        ];
        let process = self.home.start(&["serve"], &variables);
        self.address.send_replace(Some(process.address().await));
        self.process = Some(process);
    }

    /// The process has gone, or is about to.
    pub(super) fn forget_process(&mut self) -> Option<Running> {
        self.address.send_replace(None);
        self.process.take()
    }

    /// Works, suffers, heals, and rests until all are right. How long that last part took.
    pub(super) async fn survive(&mut self, fault: Fault, random: &mut fastrand::Rng) -> Duration {
        self.working.send_replace(true);
        sleep(Duration::from_millis(random.u64(50..300))).await;
        fault.happen(self, random).await;
        sleep(Duration::from_millis(random.u64(0..300))).await;
        self.settle(fault.name()).await
    }

    /// The writers rest; every viewer gets to where SQL is.
    async fn settle(&mut self, after: &str) -> Duration {
        self.working.send_replace(false);
        let begun = Instant::now();
        let mut wrong = "the database does not answer".to_owned();
        while begun.elapsed() < PATIENCE {
            // Its answer may change for as long as a writer's last statement takes.
            if let Ok(Some(truth)) = timeout(Duration::from_secs(2), self.truth()).await {
                match self.compare(&truth) {
                    None => return begun.elapsed(),
                    Some(other) => wrong = other,
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("after {after}: {wrong}");
    }

    async fn truth(&self) -> Option<HashMap<String, Numbers>> {
        let db = try_connect(&self.cluster.url()).await?;
        let mut truth = HashMap::new();
        for n in 0..BUSINESSES {
            truth.insert(business(n), numbers(&db, n).await?);
        }
        Some(truth)
    }

    /// What a viewer shows otherwise than it is.
    fn compare(&self, truth: &HashMap<String, Numbers>) -> Option<String> {
        for (number, sight) in self.sights.iter().enumerate() {
            let sight = sight.lock().unwrap();
            if let Some(complaint) = &sight.complaint {
                panic!("viewer {number}: {complaint}");
            }
            if sight.now.len() < 2 {
                return Some(format!("viewer {number} sees only {:?}", sight.now));
            }
            if let Some((business, shown)) = sight
                .now
                .iter()
                .find(|(business, shown)| truth[*business] != **shown)
            {
                return Some(format!(
                    "viewer {number}: {business} shows {shown:?}, and is {:?}",
                    truth[business]
                ));
            }
        }
        None
    }

    /// Ends everything; what was seen, in a sentence.
    pub(super) async fn close(mut self) -> String {
        self.tasks.abort_all();
        self.watching.iter().for_each(JoinHandle::abort);
        assert!(
            self.app.stop().await,
            "the server in this process ends in time"
        );
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut seen = String::new();
        let _infallible = write!(
            seen,
            "{} transactions, {} hooks, {} viewers on {} connections, {} frames, {} forbidden subscriptions refused",
            count(&self.written),
            count(&self.hooks),
            self.sights.len(),
            count(&self.counts.connections),
            count(&self.counts.frames),
            count(&self.counts.refused),
        );
        seen
    }
}

/// Both roads, in this order.
fn url_over(roads: &[FaultProxy; 2]) -> String {
    let [one, other] = roads.each_ref().map(FaultProxy::address);
    format!("postgresql://postgres@{one},{other}/latido?sslmode=disable&connect_timeout=2")
}

/// Random statements in random transactions. Errors are the faults' doing; what was not committed did not happen.
async fn write(
    url: String,
    mut random: fastrand::Rng,
    mut working: watch::Receiver<bool>,
    written: Arc<AtomicU64>,
) {
    let mut db = None;
    while working.wait_for(|working| *working).await.is_ok() {
        if db.as_ref().is_none_or(tokio_postgres::Client::is_closed) {
            db = try_connect(&url).await;
        }
        let pause = Duration::from_millis(random.u64(1..20));
        if let Some(db) = &db {
            // A server that is frozen answers when it thaws; a statement may have happened whatever became of its answer.
            let done = timeout(
                Duration::from_secs(20),
                db.batch_execute(&statements(&mut random)),
            )
            .await;
            written.fetch_add(u64::from(matches!(done, Ok(Ok(())))), Ordering::Relaxed);
        }
        sleep(pause).await;
    }
}

async fn hook(
    address: watch::Receiver<Option<SocketAddr>>,
    mut random: fastrand::Rng,
    mut working: watch::Receiver<bool>,
    hooks: Arc<AtomicU64>,
) {
    let http = client();
    while working.wait_for(|working| *working).await.is_ok() {
        let there = *address.borrow();
        if let Some(there) = there {
            let body = json!({"negocio_id": business(random.usize(0..BUSINESSES))}).to_string();
            let request = http
                .post(format!("http://{there}/notify/cita"))
                .header("content-type", "application/json");
            let answer = timeout(Duration::from_secs(3), request.body(body).send()).await;
            hooks.fetch_add(u64::from(matches!(answer, Ok(Ok(_)))), Ordering::Relaxed);
        }
        sleep(Duration::from_millis(random.u64(5..60))).await;
    }
}
