//! One statement on a pooled connection: named where that lasts, in a transaction of its own where it does not, never longer than
//! its limit, and once more when the connection turns out to be dead.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::postgres::config::{Config, ConfigError, Setting};
use crate::postgres::connect::{Endpoint, Link, Private, Reader};
use crate::postgres::describe::Prepared;
use crate::postgres::error::{DatabaseError, Verdict};

/// Beyond the server's own statement time-out: for the way there and back.
const CLIENT_SLACK: Duration = Duration::from_secs(1);

/// Longest time to tell the server to cancel; a busy server must not hold the caller twice.
const CANCEL_LIMIT: Duration = Duration::from_millis(500);

/// Longest time of [`Database::check`].
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// The parameters of a statement with their types.
pub(super) type Params<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// A PostgreSQL database: a pool to read with, and the address to listen at. Clones share it.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    url: Endpoint,
    direct: Endpoint,
    link: Arc<Link>,
    statement_timeout: Duration,
    /// Connections that questions of permission may hold at a time.
    permissions: Semaphore,
    /// For a pool of an app's own.
    config: Config,
    /// By the stream's name. Written after a statement was described, read by every read; never held across an await.
    prepared: RwLock<HashMap<String, Arc<Prepared>>>,
}

impl Database {
    /// Understands the settings; connects to nothing yet. Connections live on the runtime that first uses them.
    pub fn open(config: &Config) -> Result<Self, ConfigError> {
        let mistake = |setting| move |mistake| ConfigError { setting, mistake };
        let url = Endpoint::parse(&config.url, config).map_err(mistake(Setting::Url))?;
        let direct = match &config.listen_url {
            Some(listen) => Endpoint::parse(listen, config).map_err(mistake(Setting::ListenUrl))?,
            None => url.clone(),
        };
        let link = Arc::new(Link::new(url.pooled));
        let reader = Reader::new(url.clone(), link.clone(), config);
        // The manager's own settings are not used: the reader has them.
        let manager_config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), reader, manager_config);
        let pool = Pool::builder(manager)
            .max_size(config.pool_size.max(1))
            .wait_timeout(Some(config.statement_timeout))
            .create_timeout(Some(url.connect_limit()))
            .recycle_timeout(Some(url.connect_limit()))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| ConfigError {
                setting: Setting::Url,
                mistake: super::UrlError::Driver(e.to_string()),
            })?;
        let statement_timeout = config.statement_timeout;
        let permissions = Semaphore::new((config.pool_size / 2).max(1));
        let (config, prepared) = (config.clone(), RwLock::default());
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                url,
                direct,
                link,
                statement_timeout,
                permissions,
                config,
                prepared,
            }),
        })
    }

    /// The same database with connections of its own, on which statements may write.
    pub fn writer(&self, pool_size: usize) -> Result<Self, ConfigError> {
        Self::open(&Config {
            read_only: false,
            pool_size,
            ..self.inner.config.clone()
        })
    }

    /// Whether the database answers within 2 s.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        let answer = timeout(CHECK_LIMIT, self.query("the check", "SELECT 1", &[])).await;
        answer
            .unwrap_or_else(|_| Err(DatabaseError::unavailable("no answer within 2 s")))
            .map(drop)
    }

    /// A place among those who ask for permissions: half the pool is theirs, so that numbers are read however slow permissions are, and
    /// however many are asked for.
    pub(super) async fn permission_place(&self) -> Result<SemaphorePermit<'_>, DatabaseError> {
        let place = timeout(
            self.inner.statement_timeout,
            self.inner.permissions.acquire(),
        )
        .await;
        place
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| DatabaseError::unavailable("every connection for permissions is busy"))
    }

    /// Whether reads go through a connection pooler, as far as is known.
    pub fn is_pooled(&self) -> bool {
        self.inner.link.is_pooled()
    }

    /// Closes the pool's connections; whatever is asked later fails.
    pub fn close(&self) {
        self.inner.pool.close();
    }

    /// Where to listen and to install.
    pub(super) fn direct(&self) -> &Endpoint {
        &self.inner.direct
    }

    /// A connection of its own to where reads go.
    pub(super) async fn private(&self) -> Result<Private, DatabaseError> {
        open_private(&self.inner.url).await
    }

    /// A connection of its own to where the listener goes.
    pub(super) async fn private_direct(&self) -> Result<Private, DatabaseError> {
        open_private(&self.inner.direct).await
    }

    /// Whether triggers are to be installed with the interest gate.
    pub(super) fn is_gated(&self) -> bool {
        self.inner.config.gate
    }

    pub(super) fn local_settings(&self) -> String {
        self.inner.url.local_settings()
    }

    pub(super) fn prepared(&self, stream: &str) -> Option<Arc<Prepared>> {
        self.inner.prepared.read().ok()?.get(stream).cloned()
    }

    pub(super) fn remember(&self, stream: &str, prepared: Arc<Prepared>) {
        if let Ok(mut all) = self.inner.prepared.write() {
            all.insert(stream.to_owned(), prepared);
        }
    }

    /// Runs one statement of `what` and fetches all its rows. `sql` must stand for itself: it may run on any connection.
    pub(super) async fn query(
        &self,
        what: &str,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        match self.attempt(sql, params).await {
            Ok(rows) => Ok(rows),
            Err(Failure::Driver(error)) => {
                if !self.repair(&error) {
                    return Err(DatabaseError::of(what, &error));
                }
                self.attempt(sql, params)
                    .await
                    .map_err(|failure| failure.of(what))
            }
            Err(failure) => Err(failure.of(what)),
        }
    }

    /// Does what makes a second attempt worth while; false if nothing does.
    fn repair(&self, error: &tokio_postgres::Error) -> bool {
        match Verdict::of(error) {
            // One dead connection means, mostly, that all of them are: a restart, a failover, a firewall.
            Verdict::Connection => drop(self.inner.pool.retain(|_, _| false)),
            Verdict::Stale => self.inner.pool.manager().statement_caches.clear(),
            Verdict::Shared => self.inner.link.found_pooler("named statements get lost"),
            Verdict::Busy | Verdict::Statement => return false,
        }
        true
    }

    async fn attempt(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, Failure> {
        let object = self
            .inner
            .pool
            .get()
            .await
            .map_err(|e| Failure::Pool(DatabaseError::of_pool(&e)))?;
        let lease = Lease(Some(object));
        let client = lease.object();
        let limit = self.inner.statement_timeout + CLIENT_SLACK;
        let work = async {
            if self.inner.link.is_pooled() {
                self.query_unnamed(client, sql, params).await
            } else {
                query_named(client, sql, params).await
            }
        };
        match timeout(limit, work).await {
            Ok(Err(error)) if Verdict::of(&error) == Verdict::Connection => {
                Err(Failure::Driver(error))
            }
            Ok(answer) => {
                lease.give_back();
                answer.map_err(Failure::Driver)
            }
            Err(_) => {
                // The server's own time-out came first, if it heard of the statement: so the road is dead, and for the idle ones too. Each
                // would cost the same wait again.
                self.inner.pool.retain(|_, _| false);
                // The server may not have noticed its own time-out; the connection goes in any case.
                let _ = timeout(
                    CANCEL_LIMIT,
                    client.cancel_token().cancel_query(self.inner.url.tls()),
                )
                .await;
                Err(Failure::Pool(DatabaseError::unavailable(format!(
                    "no answer within {} ms",
                    limit.as_millis()
                ))))
            }
        }
    }

    /// Behind a pooler a session's settings and its named statements may belong to somebody else by the next message. So the
    /// statement goes unnamed, in a transaction that carries its settings; all of it leaves in one flight.
    async fn query_unnamed(
        &self,
        client: &Object,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let ms = self.inner.statement_timeout.as_millis();
        let mode = if self.inner.config.read_only {
            "READ ONLY"
        } else {
            "READ WRITE"
        };
        let begin = format!(
            "BEGIN {mode}; SET LOCAL statement_timeout = {ms}; SET LOCAL jit = off; {}",
            self.local_settings()
        );
        // Polled in this order, so sent in this order. After an error the COMMIT is a ROLLBACK.
        let (begun, rows, ended) = tokio::join!(
            client.batch_execute(&begin),
            client.query_typed(sql, params),
            client.batch_execute("COMMIT")
        );
        begun?;
        let rows = rows?;
        ended?;
        Ok(rows)
    }
}

async fn query_named(
    client: &Object,
    sql: &str,
    params: &Params<'_>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let types: Vec<Type> = params.iter().map(|(_, t)| t.clone()).collect();
    let values: Vec<&(dyn ToSql + Sync)> = params.iter().map(|(value, _)| *value).collect();
    let statement = client.prepare_typed_cached(sql, &types).await?;
    client.query(&statement, &values).await
}

async fn open_private(endpoint: &Endpoint) -> Result<Private, DatabaseError> {
    match timeout(endpoint.connect_limit(), Private::open(endpoint)).await {
        Ok(Ok(private)) => Ok(private),
        Ok(Err(error)) => Err(DatabaseError::unavailable(super::error::describe(&error))),
        Err(_) => Err(DatabaseError::unavailable(
            "no connection within the connect time-out",
        )),
    }
}

enum Failure {
    Pool(DatabaseError),
    Driver(tokio_postgres::Error),
}

impl Failure {
    fn of(self, what: &str) -> DatabaseError {
        match self {
            Self::Pool(error) => error,
            Self::Driver(error) => DatabaseError::of(what, &error),
        }
    }
}

/// A pooled connection in use. Dropped before the answer came, it is closed: the next one to use it would wait for that answer.
struct Lease(Option<Object>);

impl Lease {
    fn object(&self) -> &Object {
        // Only `give_back` and `drop` take it, and both end the lease.
        self.0
            .as_ref()
            .unwrap_or_else(|| unreachable!("a lease holds its connection to the end"))
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("pool", &self.inner.pool.status())
            .field("pooled", &self.is_pooled())
            .finish()
    }
}
