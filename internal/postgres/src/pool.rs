//! Runs one statement on a pooled connection: as a named statement on a direct connection, or in a
//! transaction of its own behind a pooler. A statement never takes longer than its limit, and is
//! retried once if the connection turns out to be dead.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use scopeguard::ScopeGuard;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::config::{Config, ConfigError, UrlSetting};
use crate::connect::{DedicatedConnection, Endpoint, PoolConnector, PoolerDetection};
use crate::error::{DatabaseError, ErrorScope};
use crate::instance::InstanceName;
use crate::prepared_cache::PreparedCache;
use crate::prepared_stream::PreparedStream;
use crate::url_error::UrlError;
use latido_base::sleep::Sleep;
use latido_stream::Stream;

/// The time that the client waits beyond the server's statement time-out, for the network in both
/// directions.
const CLIENT_SLACK: Duration = Duration::from_secs(1);

/// The time-out of a cancel request; a busy server must not delay the task a second time.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(500);

/// The time-out of [`Database::check_connection`].
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The parameters of a statement with their types.
pub type TypedParams<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// A PostgreSQL database: a pool for reads, and the address for LISTEN. Clones share it.
#[derive(Clone)]
pub struct Database {
    inner: Arc<DatabaseInner>,
}

struct DatabaseInner {
    pool: Pool,
    endpoint: Endpoint,
    direct_endpoint: Endpoint,
    pooler_detection: Arc<PoolerDetection>,
    statement_timeout: Duration,
    /// The connections that permission queries may use at a time.
    permission_slots: Semaphore,
    /// The settings, kept for an app's own pool.
    config: Config,
    prepared: PreparedCache,
    sleep: Sleep,
}

impl Database {
    /// Parses the settings without connecting. The first runtime that uses a connection owns it.
    pub fn open(config: &Config) -> Result<Self, ConfigError> {
        let mistake = |setting| {
            move |mistakes: Vec<UrlError>| ConfigError {
                setting,
                mistake: mistakes.into_iter().next().unwrap_or(UrlError::Malformed),
            }
        };
        let url = match &config.url {
            Some(url) => Endpoint::parse(url.expose(), config),
            None => Err(vec![UrlError::Missing]),
        }
        .map_err(mistake(UrlSetting::Url))?;
        let direct = match &config.listen_url {
            Some(listen) => {
                Endpoint::parse(listen.expose(), config).map_err(mistake(UrlSetting::ListenUrl))?
            }
            None => url.clone(),
        };
        let statement_timeout = url.statement_timeout.unwrap_or(config.statement_timeout);
        let config = &Config {
            statement_timeout,
            ..config.clone()
        };
        let link = Arc::new(PoolerDetection::new(
            url.is_pooled || config.single_transactions,
        ));
        let reader = PoolConnector::new(url.clone(), link.clone(), config);
        // The manager's own settings are not used, because the connector has them.
        let manager_config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), reader, manager_config);
        let pool = Pool::builder(manager)
            .max_size(config.pool_size.max(1))
            .wait_timeout(Some(config.statement_timeout))
            .create_timeout(Some(url.total_connect_timeout()))
            .recycle_timeout(Some(url.total_connect_timeout()))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| ConfigError {
                setting: UrlSetting::Url,
                mistake: UrlError::Driver(e.to_string()),
            })?;
        let permissions = Semaphore::new((config.pool_size / 2).max(1));
        let (prepared, sleep) = (PreparedCache::default(), Sleep::new(config.sleep_after));
        Ok(Self {
            inner: Arc::new(DatabaseInner {
                pool,
                endpoint: url,
                direct_endpoint: direct,
                pooler_detection: link,
                statement_timeout,
                permission_slots: permissions,
                config: config.clone(),
                prepared,
                sleep,
            }),
        })
    }

    /// Returns the same database with a pool of its own, on which statements may write.
    pub fn writer(&self, pool_size: usize) -> Result<Self, ConfigError> {
        Self::open(&Config {
            read_only: false,
            pool_size,
            sleep_after: None,
            ..self.inner.config.clone()
        })
    }

    /// Checks that the database responds within 2 s.
    pub async fn check_connection(&self) -> Result<(), DatabaseError> {
        let result = timeout(CHECK_TIMEOUT, self.query("the check", "SELECT 1", &[])).await;
        result
            .unwrap_or_else(|_| Err(DatabaseError::unavailable("no answer within 2 s")))
            .map(drop)
    }

    /// Acquires a slot for a permission query. Half of the pool is reserved for reads, so slow or
    /// numerous permission queries never block them.
    pub(super) async fn acquire_permission_slot(
        &self,
    ) -> Result<SemaphorePermit<'_>, DatabaseError> {
        let permit = timeout(
            self.inner.statement_timeout,
            self.inner.permission_slots.acquire(),
        )
        .await;
        permit
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| DatabaseError::unavailable("every connection for permissions is busy"))
    }

    /// Returns whether reads go through a connection pooler, as far as is known.
    pub fn is_pooled(&self) -> bool {
        self.inner.pooler_detection.is_pooled()
    }

    /// Closes the pool's connections; later statements fail.
    pub fn close(&self) {
        self.inner.pool.close();
    }

    /// Returns the sleep of the connections.
    pub fn sleep(&self) -> &Sleep {
        &self.inner.sleep
    }

    /// Closes the pool's idle connections. During the sleep the others are closed when returned.
    pub fn close_idle(&self) {
        self.inner.pool.retain(|_, _| false);
    }

    /// Returns the address for reads.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// Returns the address for LISTEN and for installing triggers.
    pub(super) fn direct_endpoint(&self) -> &Endpoint {
        &self.inner.direct_endpoint
    }

    /// Opens a dedicated connection to the address for reads.
    pub(super) async fn open_dedicated(&self) -> Result<DedicatedConnection, DatabaseError> {
        connect_dedicated(&self.inner.endpoint).await
    }

    /// Opens a dedicated connection to the address of the listener.
    pub(super) async fn open_dedicated_direct(&self) -> Result<DedicatedConnection, DatabaseError> {
        connect_dedicated(&self.inner.direct_endpoint).await
    }

    /// Returns whether policies of row-level security may filter reads.
    pub(super) fn reads_through_policies(&self) -> bool {
        self.inner.config.row_security
    }

    /// Returns the name of the installation whose objects are installed and inspected.
    pub(super) fn instance(&self) -> &InstanceName {
        &self.inner.config.instance
    }

    /// Returns whether triggers are to be installed with the interest gate.
    pub(super) fn is_gated(&self) -> bool {
        self.inner.config.interest_gate
    }

    pub(super) fn local_read_settings(&self) -> String {
        self.inner.endpoint.local_read_settings()
    }

    pub(super) fn cached_prepared(&self, stream: &Stream) -> Option<Arc<PreparedStream>> {
        self.inner.prepared.get(stream)
    }

    pub(super) fn cache_prepared(&self, stream: &Stream, prepared: Arc<PreparedStream>) {
        self.inner.prepared.insert(stream, prepared);
    }

    /// Forgets what was prepared of a stream: it is prepared anew when it is next read.
    pub fn forget_prepared(&self, stream: &Stream) {
        self.inner.prepared.remove(stream);
    }

    /// Runs one statement with the purpose `what` and fetches all rows. `sql` must be
    /// self-contained, because it may run on any connection.
    pub async fn query(
        &self,
        what: &str,
        sql: &str,
        params: &TypedParams<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        match self.attempt(sql, params).await {
            Ok(rows) => Ok(rows),
            Err(AttemptError::Driver(error)) => {
                if !self.repair_for_retry(&error) {
                    return Err(DatabaseError::from_driver(what, &error));
                }
                self.attempt(sql, params)
                    .await
                    .map_err(|failure| failure.into_database_error(what))
            }
            Err(failure) => Err(failure.into_database_error(what)),
        }
    }

    /// Removes the cause of an error, so that a second attempt makes sense. Returns `false` if
    /// there is no remedy.
    fn repair_for_retry(&self, error: &tokio_postgres::Error) -> bool {
        match ErrorScope::classify(error) {
            // One dead connection usually means that all are dead: a restart, a failover, or a
            // firewall.
            ErrorScope::Connection => self.close_idle(),
            ErrorScope::StalePlan => self.inner.pool.manager().statement_caches.clear(),
            ErrorScope::SharedSession => self
                .inner
                .pooler_detection
                .record_pooler("named statements get lost"),
            ErrorScope::Busy | ErrorScope::Statement => return false,
        }
        true
    }

    async fn attempt(&self, sql: &str, params: &TypedParams<'_>) -> Result<Vec<Row>, AttemptError> {
        let object = self
            .inner
            .pool
            .get()
            .await
            .map_err(|e| AttemptError::Pool(DatabaseError::from_pool(&e)))?;
        // A connection that is dropped before its response arrived is closed: the next user would
        // wait for that response.
        let lease = scopeguard::guard(object, |object| drop(Object::take(object)));
        let client = &*lease;
        let limit = self.inner.statement_timeout + CLIENT_SLACK;
        let work = async {
            if self.inner.pooler_detection.is_pooled() {
                self.query_unnamed(client, sql, params).await
            } else {
                query_named(client, sql, params).await
            }
        };
        match timeout(limit, work).await {
            Ok(Err(error)) if ErrorScope::classify(&error) == ErrorScope::Connection => {
                Err(AttemptError::Driver(error))
            }
            Ok(result) => {
                drop(ScopeGuard::into_inner(lease));
                // After the return, so that none is left: sleep begins before it closes the pool.
                if self.inner.sleep.is_asleep() {
                    self.close_idle();
                }
                result.map_err(AttemptError::Driver)
            }
            Err(_) => {
                // The server's own time-out would have come first if the statement had reached it.
                // So the network path is dead, for the idle connections too.
                self.close_idle();
                // The server may have missed its own time-out. The connection is closed in any
                // case.
                let _ = timeout(
                    CANCEL_TIMEOUT,
                    client
                        .cancel_token()
                        .cancel_query(self.inner.endpoint.tls()),
                )
                .await;
                Err(AttemptError::Pool(DatabaseError::unavailable(format!(
                    "no answer within {} ms",
                    limit.as_millis()
                ))))
            }
        }
    }

    /// Runs a statement unnamed, in a transaction that carries its settings. Behind a pooler, a
    /// session's settings and named statements may belong to another client by the next message.
    /// All messages leave in one flight.
    async fn query_unnamed(
        &self,
        client: &Object,
        sql: &str,
        params: &TypedParams<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let ms = self.inner.statement_timeout.as_millis();
        let mode = if self.inner.config.read_only {
            "READ ONLY"
        } else {
            "READ WRITE"
        };
        let begin = format!(
            "BEGIN {mode}; SET LOCAL statement_timeout = {ms}; SET LOCAL jit = off; {}",
            self.local_read_settings()
        );
        // Futures are polled in this order, so they are sent in this order. After an error, COMMIT
        // acts as ROLLBACK.
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
    params: &TypedParams<'_>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let types: Vec<Type> = params.iter().map(|(_, t)| t.clone()).collect();
    let values: Vec<&(dyn ToSql + Sync)> = params.iter().map(|(value, _)| *value).collect();
    let statement = client.prepare_typed_cached(sql, &types).await?;
    client.query(&statement, &values).await
}

async fn connect_dedicated(endpoint: &Endpoint) -> Result<DedicatedConnection, DatabaseError> {
    let opened = DedicatedConnection::open(endpoint);
    match timeout(endpoint.total_connect_timeout(), opened).await {
        Ok(Ok(private)) => Ok(private),
        Ok(Err(error)) => Err(DatabaseError::unavailable(super::error::error_text(&error))),
        Err(_) => Err(DatabaseError::unavailable(
            "no connection within the connect time-out",
        )),
    }
}

enum AttemptError {
    Pool(DatabaseError),
    Driver(tokio_postgres::Error),
}

impl AttemptError {
    fn into_database_error(self, what: &str) -> DatabaseError {
        match self {
            Self::Pool(error) => error,
            Self::Driver(error) => DatabaseError::from_driver(what, &error),
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
