//! The database, the two servers, the writers and the viewers of the chaos test.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_postgres::NoTls;

use crate::chaos::fault::Fault;
use crate::chaos::viewer::{BusinessNumbers, ChaosViewer, ViewerCounts, ViewerState};
use crate::convergence::{BUSINESSES, business, query_numbers, statements};
use crate::harness::cluster::OwnCluster;
use crate::harness::fault_proxy::{FaultProxy, ProxyMode};
use crate::harness::{
    CommandHome, OTHER_USER, RunningCommand, TestApp, claims, http_client, try_connect,
};

const WRITERS: usize = 3;
const VIEWERS: usize = 4;
/// The longest time after a fault until every viewer is right again. Reconnecting after a dead link
/// takes seven seconds by design, a black hole delays statements until their timeouts, and the
/// machine may be slow.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest time for the database's own numbers: on a busy machine every step of the connection
/// waits for a processor.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(20);

/// The complete test cluster; see the documentation of the parent module.
pub(super) struct Deployment {
    pub(super) cluster: OwnCluster,
    /// Two proxies that appear in order in every URL. A failover switches between them.
    pub(super) proxies: [FaultProxy; 2],
    /// The index of the proxy that leads to the database.
    pub(super) active_proxy: usize,
    home: CommandHome,
    pub(super) process: Option<RunningCommand>,
    address: watch::Sender<Option<SocketAddr>>,
    pub(super) app: TestApp,
    /// True while writers and hook callers work.
    is_working: watch::Sender<bool>,
    worker_tasks: JoinSet<()>,
    viewer_tasks: Vec<JoinHandle<()>>,
    viewer_states: Vec<Arc<Mutex<ViewerState>>>,
    counts: Arc<ViewerCounts>,
    written: Arc<AtomicU64>,
    hooks: Arc<AtomicU64>,
}

impl Deployment {
    pub(super) async fn start(mut random: fastrand::Rng) -> Self {
        let cluster =
            OwnCluster::start_with_tcp(&["sql/schema.sql", "tests/it/sql/people.sql"]).await;
        TestApp::install_on(&cluster.url()).await;
        let port = cluster
            .tcp_url()
            .rsplit_once(':')
            .and_then(|(_, rest)| rest.split('/').next()?.parse().ok())
            .expect("a port");
        let proxies = [
            FaultProxy::start(port, ProxyMode::Pass).await,
            FaultProxy::start(port, ProxyMode::Refuse).await,
        ];
        let app = TestApp::on_database(&url_through(&proxies)).await;
        let mut deployment = Self {
            cluster,
            proxies,
            active_proxy: 0,
            home: CommandHome::new(),
            process: None,
            address: watch::Sender::new(None),
            app,
            is_working: watch::Sender::new(false),
            worker_tasks: JoinSet::new(),
            viewer_tasks: Vec::new(),
            viewer_states: Vec::new(),
            counts: Arc::default(),
            written: Arc::default(),
            hooks: Arc::default(),
        };
        deployment.start_process().await;
        let in_process = watch::Sender::new(Some(deployment.app.address()));
        for number in 0..VIEWERS {
            deployment.start_viewer(number, deployment.address.subscribe());
            deployment.start_viewer(number + 1, in_process.subscribe());
        }
        // Viewers of the in-process server follow an address that never changes.
        deployment.viewer_tasks.push(tokio::spawn(async move {
            let _kept = in_process;
            std::future::pending().await
        }));
        for _ in 0..WRITERS {
            let (url, working, written) = (
                deployment.cluster.url(),
                deployment.is_working.subscribe(),
                Arc::clone(&deployment.written),
            );
            deployment
                .worker_tasks
                .spawn(run_writer(url, random.fork(), working, written));
        }
        let (addresses, working, hooks) = (
            deployment.address.subscribe(),
            deployment.is_working.subscribe(),
            Arc::clone(&deployment.hooks),
        );
        deployment
            .worker_tasks
            .spawn(run_hook_calls(addresses, random, working, hooks));
        deployment.wait_until_correct("the beginning").await;
        deployment
    }

    fn start_viewer(&mut self, number: usize, address: watch::Receiver<Option<SocketAddr>>) {
        let businesses = vec![
            business(number % BUSINESSES),
            business((number + 3) % BUSINESSES),
        ];
        let claims =
            json!({"id": OTHER_USER, "negocios": businesses, "exp": claims::now() + 360_000});
        let viewer = ChaosViewer {
            token: claims::sign_with(claims::SECRET, &claims),
            businesses,
            forbidden: business((number + 1) % BUSINESSES),
            state: Arc::default(),
            counts: Arc::clone(&self.counts),
        };
        self.viewer_states.push(Arc::clone(&viewer.state));
        self.viewer_tasks.push(tokio::spawn(viewer.follow(address)));
    }

    /// Starts the server process on a free port.
    pub(super) async fn start_process(&mut self) {
        let url = url_through(&self.proxies);
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
        self.address
            .send_replace(Some(process.listen_address().await));
        self.process = Some(process);
    }

    /// Forgets the server process, which has ended or is about to.
    pub(super) fn forget_process(&mut self) -> Option<RunningCommand> {
        self.address.send_replace(None);
        self.process.take()
    }

    /// Works, applies the fault, heals it, and pauses the writers until all viewers are right.
    /// Returns the duration of that last part.
    pub(super) async fn apply_fault(
        &mut self,
        fault: Fault,
        random: &mut fastrand::Rng,
    ) -> Duration {
        self.is_working.send_replace(true);
        sleep(Duration::from_millis(random.u64(50..300))).await;
        fault.apply(self, random).await;
        sleep(Duration::from_millis(random.u64(0..300))).await;
        self.wait_until_correct(fault.name()).await
    }

    /// Pauses the writers and waits until every viewer shows the same as SQL.
    async fn wait_until_correct(&mut self, after: &str) -> Duration {
        self.is_working.send_replace(false);
        let begun = Instant::now();
        let mut wrong = String::new();
        while begun.elapsed() < RECOVERY_TIMEOUT {
            // The result may still change until the last statement of a writer ends.
            match timeout(DATABASE_TIMEOUT, self.database_numbers()).await {
                Ok(Ok(truth)) => match self.first_difference(&truth) {
                    None => return begun.elapsed(),
                    Some(other) => wrong = other,
                },
                Ok(Err(error)) => wrong = format!("the database answers: {error}"),
                Err(_) => wrong = "the database does not answer in time".to_owned(),
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("after {after}: {wrong}; {}", self.database_sessions().await);
    }

    async fn database_numbers(&self) -> Result<HashMap<String, BusinessNumbers>, String> {
        let (db, connection) = tokio_postgres::connect(&self.cluster.url(), NoTls)
            .await
            .map_err(|error| format!("{error:?}"))?;
        tokio::spawn(connection);
        let numbers = join_all((0..BUSINESSES).map(|n| query_numbers(&db, n))).await;
        let named = numbers.into_iter().enumerate();
        let truth: Option<_> = named
            .map(|(n, found)| Some((business(n), found?)))
            .collect();
        truth.ok_or_else(|| "a query failed".to_owned())
    }

    /// Returns what the sessions of the database are doing, for the report of a failure.
    async fn database_sessions(&self) -> String {
        let listed = async {
            let db = try_connect(&self.cluster.url()).await?;
            let sql = "SELECT string_agg(concat_ws(' ', pid, state, wait_event_type, wait_event, \
                       pg_blocking_pids(pid), now() - xact_start, left(query, 80)), E'\\n') \
                       FROM pg_stat_activity";
            let row = db.query_one(sql, &[]).await.ok()?;
            Some(row.get::<_, String>(0))
        };
        match timeout(DATABASE_TIMEOUT, listed).await {
            Ok(Some(sessions)) => format!("sessions:\n{sessions}"),
            Ok(None) | Err(_) => "its sessions cannot be listed".to_owned(),
        }
    }

    /// Compares the viewers with the database. Returns a description of the first difference.
    fn first_difference(&self, truth: &HashMap<String, BusinessNumbers>) -> Option<String> {
        for (number, view) in self.viewer_states.iter().enumerate() {
            let view = view.lock().unwrap();
            if let Some(violation) = &view.violation {
                panic!("viewer {number}: {violation}");
            }
            if view.numbers.len() < 2 {
                return Some(format!("viewer {number} sees only {:?}", view.numbers));
            }
            if let Some((business, shown)) = view
                .numbers
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
    pub(super) async fn shut_down(mut self) -> String {
        self.worker_tasks.abort_all();
        self.viewer_tasks.iter().for_each(JoinHandle::abort);
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
            self.viewer_states.len(),
            count(&self.counts.connections),
            count(&self.counts.frames),
            count(&self.counts.refused),
        );
        seen
    }
}

/// Returns a URL that names both proxies, in this order.
fn url_through(proxies: &[FaultProxy; 2]) -> String {
    let [one, other] = proxies.each_ref().map(FaultProxy::address);
    format!("postgresql://postgres@{one},{other}/latido?sslmode=disable&connect_timeout=2")
}

/// Runs random statements in random transactions. Errors come from the injected faults; a statement
/// that was not committed has no effect.
async fn run_writer(
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
            let is_done = matches!(done, Ok(Ok(())));
            written.fetch_add(u64::from(is_done), Ordering::Relaxed);
            if !is_done {
                // After an error behind a savepoint, the transaction keeps its locks until it ends.
                let _ended = timeout(DATABASE_TIMEOUT, db.batch_execute("ROLLBACK")).await;
            }
        }
        sleep(pause).await;
    }
}

async fn run_hook_calls(
    address: watch::Receiver<Option<SocketAddr>>,
    mut random: fastrand::Rng,
    mut working: watch::Receiver<bool>,
    hooks: Arc<AtomicU64>,
) {
    let http = http_client();
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
