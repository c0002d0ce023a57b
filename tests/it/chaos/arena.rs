//! The database, the two servers, the writers and the viewers of the chaos test.

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
/// The longest time after a fault until every viewer is right again. Reconnecting after a dead link
/// takes seven seconds by design, a black hole delays statements until their timeouts, and the
/// machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The complete test cluster; see the documentation of the parent module.
pub(super) struct Arena {
    pub(super) cluster: OwnCluster,
    /// Two proxies that appear in order in every URL. A failover switches between them.
    pub(super) roads: [FaultProxy; 2],
    /// The index of the proxy that leads to the database.
    pub(super) open: usize,
    home: Home,
    pub(super) process: Option<Running>,
    address: watch::Sender<Option<SocketAddr>>,
    pub(super) app: TestApp,
    /// True while writers and hook callers work.
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
        let proxies = [
            FaultProxy::start(port, Mode::Pass).await,
            FaultProxy::start(port, Mode::Refuse).await,
        ];
        let app = TestApp::on(&url_over(&proxies)).await;
        let mut deployment = Self {
            cluster,
            roads: proxies,
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
        deployment.start_process().await;
        let in_process = watch::Sender::new(Some(deployment.app.address()));
        for number in 0..VIEWERS {
            deployment.watch(number, deployment.address.subscribe());
            deployment.watch(number + 1, in_process.subscribe());
        }
        // Viewers of the in-process server follow an address that never changes.
        deployment.watching.push(tokio::spawn(async move {
            let _kept = in_process;
            std::future::pending().await
        }));
        for _ in 0..WRITERS {
            let (url, working, written) = (
                deployment.cluster.url(),
                deployment.working.subscribe(),
                Arc::clone(&deployment.written),
            );
            deployment
                .tasks
                .spawn(write(url, random.fork(), working, written));
        }
        let (addresses, working, hooks) = (
            deployment.address.subscribe(),
            deployment.working.subscribe(),
            Arc::clone(&deployment.hooks),
        );
        deployment
            .tasks
            .spawn(hook(addresses, random, working, hooks));
        deployment.settle("the beginning").await;
        deployment
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

    /// Starts the server process on a free port.
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

    /// Forgets the server process, which has ended or is about to.
    pub(super) fn forget_process(&mut self) -> Option<Running> {
        self.address.send_replace(None);
        self.process.take()
    }

    /// Works, applies the fault, heals it, and pauses the writers until all viewers are right.
    /// Returns the duration of that last part.
    pub(super) async fn survive(&mut self, fault: Fault, random: &mut fastrand::Rng) -> Duration {
        self.working.send_replace(true);
        sleep(Duration::from_millis(random.u64(50..300))).await;
        fault.happen(self, random).await;
        sleep(Duration::from_millis(random.u64(0..300))).await;
        self.settle(fault.name()).await
    }

    /// Pauses the writers and waits until every viewer shows the same as SQL.
    async fn settle(&mut self, after: &str) -> Duration {
        self.working.send_replace(false);
        let begun = Instant::now();
        let mut wrong = "the database does not answer".to_owned();
        while begun.elapsed() < PATIENCE {
            // The result may still change until the last statement of a writer ends.
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

    /// Compares the viewers with the database. Returns a description of the first difference.
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

    /// Stops everything and returns a summary of the observations.
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

/// Returns a URL that names both proxies, in this order.
fn url_over(proxies: &[FaultProxy; 2]) -> String {
    let [one, other] = proxies.each_ref().map(FaultProxy::address);
    format!("postgresql://postgres@{one},{other}/latido?sslmode=disable&connect_timeout=2")
}

/// Runs random statements in random transactions. Errors come from the injected faults; a statement
/// that was not committed has no effect.
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
            // A frozen server answers after it resumes. A statement without a response may still
            // have run.
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
