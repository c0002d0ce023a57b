//! Opens connections: pooled ones for reads, and dedicated ones for everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Connection, Error, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::Config;
use crate::quote::quote_literal;
use crate::tls;
use crate::url::DatabaseUrl;
use crate::url_error::UrlError;

/// An open connection that a task must poll.
pub(super) type RawConnection =
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// The parsed form of one database URL.
#[derive(Clone)]
pub(super) struct Endpoint {
    driver: tokio_postgres::Config,
    tls_connector: MakeRustlsConnect,
    pub(super) is_pooled: bool,
    search_path: Option<String>,
    /// The time-out of a statement, if the URL sets one.
    pub(super) statement_timeout: Option<Duration>,
    row_security: bool,
}

impl Endpoint {
    /// Parses a URL and reads the certificates that it names. Returns all mistakes together.
    pub(super) fn parse(url: &str, config: &Config) -> Result<Self, Vec<UrlError>> {
        let mut target = DatabaseUrl::parse(url)?;
        let driver = &mut target.driver;
        if driver.get_connect_timeout().is_none() {
            driver.connect_timeout(config.connect_timeout);
        }
        if driver.get_application_name().is_none() {
            driver.application_name(&config.application_name);
        }
        let tls = tls::connector(&target.tls).map_err(|error| vec![error.into()])?;
        Ok(Self {
            driver: target.driver,
            tls_connector: tls,
            is_pooled: target.is_pooled,
            search_path: target.search_path,
            statement_timeout: target.statement_timeout,
            row_security: config.row_security,
        })
    }

    /// Returns the longest time that connecting may take: every host may use its own time-out.
    pub(super) fn total_connect_timeout(&self) -> Duration {
        let each = self
            .driver
            .get_connect_timeout()
            .copied()
            .unwrap_or(Duration::from_secs(3));
        let hosts = u32::try_from(self.driver.get_hosts().len())
            .unwrap_or(1)
            .clamp(1, 4);
        // One more for TLS and authentication, which the driver does not limit.
        each * (hosts + 1)
    }

    /// Connects without any setting that a pooler could refuse.
    pub(super) async fn connect_plain(&self) -> Result<(Client, RawConnection), Error> {
        self.driver.connect(self.tls_connector.clone()).await
    }

    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls_connector.clone()
    }

    /// Returns settings for the current transaction only, as one statement or none, because the
    /// session may belong to a pooler.
    pub(super) fn local_settings(&self) -> String {
        let set = |path: &String| {
            format!(
                "SELECT pg_catalog.set_config('search_path', {}, true);",
                quote_literal(path)
            )
        };
        self.search_path.as_ref().map(set).unwrap_or_default()
    }

    /// Returns the local settings with the one that refuses to answer with fewer rows.
    pub(super) fn local_read_settings(&self) -> String {
        let row_security = self.row_security_value();
        format!(
            "SET LOCAL row_security = {row_security}; {}",
            self.local_settings()
        )
    }

    fn row_security_value(&self) -> &'static str {
        if self.row_security { "on" } else { "off" }
    }
}

/// The knowledge whether a pooler is in between, shared by the pool's connector and its statements.
///
/// It is set when a connection or a statement shows that server connections are shared among
/// clients. It is never reset, since the careful mode also works on a direct connection. Relaxed:
/// no other data depends on it.
#[derive(Debug, Default)]
pub(super) struct PoolerDetection(AtomicBool);

impl PoolerDetection {
    pub(super) fn new(pooled: bool) -> Self {
        Self(AtomicBool::new(pooled))
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn record_pooler(&self, sign: &'static str) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::info!(
                sign,
                "a connection pooler answers at the database URL; reading with unnamed statements"
            );
        }
    }
}

/// Opens the connections that the pool reads with.
pub(super) struct PoolConnector {
    endpoint: Endpoint,
    pooler_detection: Arc<PoolerDetection>,
    statement_timeout: Duration,
    read_only: bool,
}

impl PoolConnector {
    pub(super) fn new(
        endpoint: Endpoint,
        pooler_detection: Arc<PoolerDetection>,
        config: &Config,
    ) -> Self {
        Self {
            endpoint,
            pooler_detection,
            statement_timeout: config.statement_timeout,
            read_only: config.read_only,
        }
    }

    /// Returns the driver's settings with the session's options, which travel in the start-up
    /// packet. Poolers refuse or drop them, and the marker among them detects that. SET is never
    /// used, because in a shared session it would affect other clients.
    fn driver_with_options(&self) -> tokio_postgres::Config {
        let mut driver = self.endpoint.driver.clone();
        let mut options = driver
            .get_options()
            .map(|own| format!("{own} "))
            .unwrap_or_default();
        let ms = self.statement_timeout.as_millis();
        let row_security = self.endpoint.row_security_value();
        options.push_str(&format!(
            "-c jit=off -c plan_cache_mode=force_generic_plan -c statement_timeout={ms} \
             -c row_security={row_security} -c idle_in_transaction_session_timeout=10000 -c {MARKER_SETTING}=1"
        ));
        // The driver's test for a primary takes a session that is read-only by default for a
        // standby.
        if self.read_only && driver.get_target_session_attrs() == TargetSessionAttrs::Any {
            options.push_str(" -c default_transaction_read_only=on");
        }
        if let Some(path) = &self.endpoint.search_path {
            let escaped = path.replace('\\', r"\\").replace(' ', r"\ ");
            options.push_str(&format!(" -c search_path={escaped}"));
        }
        driver.options(options);
        driver
    }

    async fn open_connection(&self) -> Result<(Client, JoinHandle<()>), Error> {
        if !self.pooler_detection.is_pooled() {
            match self
                .driver_with_options()
                .connect(self.endpoint.tls_connector.clone())
                .await
            {
                Ok(parts) => return self.verify_session(parts).await,
                Err(error) if refuses_options(&error) => self
                    .pooler_detection
                    .record_pooler("it refused start-up options"),
                Err(error) => return Err(error),
            }
        }
        Ok(spawn_driver(self.endpoint.connect_plain().await?))
    }

    async fn verify_session(
        &self,
        parts: (Client, RawConnection),
    ) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, task) = spawn_driver(parts);
        let messages = client
            .simple_query(&format!(
                "SELECT pg_catalog.current_setting('{MARKER_SETTING}', true)"
            ))
            .await?;
        let is_marked = messages
            .iter()
            .any(|m| matches!(m, SimpleQueryMessage::Row(row) if row.get(0) == Some("1")));
        if !is_marked {
            self.pooler_detection
                .record_pooler("it dropped start-up options");
        } else if self.read_only
            && self.endpoint.driver.get_target_session_attrs() != TargetSessionAttrs::Any
        {
            client
                .batch_execute("SET default_transaction_read_only = on")
                .await?;
        }
        Ok((client, task))
    }
}

/// A custom setting that marks a session of Latido; PostgreSQL accepts any name with a dot.
const MARKER_SETTING: &str = "latido.session";

impl Connect for PoolConnector {
    fn connect(
        &self,
        _: &tokio_postgres::Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        Box::pin(self.open_connection())
    }
}

/// Returns whether the error is a pooler's refusal of start-up options. pgbouncer reports
/// «unsupported startup parameter»; all known poolers use this SQLSTATE or one of these words.
fn refuses_options(error: &Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        let message = db.message().to_ascii_lowercase();
        db.code().code() == "08P01"
            || message.contains("startup parameter")
            || message.contains("options")
    })
}

/// Spawns the task that polls a connection. It is the only spawn outside `Drain`, because the pool
/// owns the task and must be able to abort it. The task ends with its client.
fn spawn_driver((client, connection): (Client, RawConnection)) -> (Client, JoinHandle<()>) {
    let task = tokio::spawn(async move {
        // Pending requests receive the error as well.
        if let Err(error) = connection.await {
            tracing::debug!(error = %super::error::error_text(&error), "a connection to the database ended");
        }
    });
    (client, task)
}

/// A connection outside the pool, closed on drop.
pub(super) struct DedicatedConnection {
    pub(super) client: Client,
    driver_task: JoinHandle<()>,
}

impl DedicatedConnection {
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let (client, task) = spawn_driver(endpoint.connect_plain().await?);
        Ok(Self {
            client,
            driver_task: task,
        })
    }
}

impl Drop for DedicatedConnection {
    fn drop(&mut self) {
        self.driver_task.abort();
    }
}
