//! The command `latido demo`: a private database with sample data, a writer, and a server with the
//! web page.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;

use crate::app::config::Config;
use crate::app::database_commands::{app_schemas, install_all};
use crate::app::demo_database::{refuse_foreign_data, refuse_foreign_tables};
use crate::app::demo_stream::add_services;
use crate::app::serve::run_until_stopped;
use crate::app::server::App;
use crate::config::Settings;
use latido_auth::{Secret, TokenSpec, VerifierConfig, issue};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_demo::{
    ADMIN_USER, ActivityRate, BUSINESSES, Demo, SqlExecutor, seed_sql, start_writer,
};
use latido_embedded_postgres::{self as embedded, Cluster};
use latido_postgres::{self as postgres, Database, InstanceName, ScriptRunner};

/// Lets the demo write to PostgreSQL.
struct PostgresScripts(ScriptRunner);

impl SqlExecutor for PostgresScripts {
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(async move { Ok(self.0.execute(sql).await?) })
    }
}

/// The lifetime of a demo token. The page fetches a new one before it expires.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// The name of the demo's database within its cluster.
const DATABASE: &str = "latido";
/// The name of the demo's installation. With the default name, a `latido install` in the demo's
/// database, as the tutorial runs it, would replace the demo's triggers by its own.
const INSTANCE: &str = "latido_demo";
/// The SQLSTATE `duplicate_database`: the database exists already.
const DUPLICATE_DATABASE: &str = "42P04";

/// The information that a running demo prints for its user.
#[derive(Debug)]
pub struct DemoInfo {
    /// The URL of the web page.
    pub page_url: String,
    /// The URL of the WebSocket endpoint.
    pub socket_url: String,
    /// A token that may watch every business of the demo.
    pub token: Secret,
    /// An example channel with live data.
    pub channel: String,
    /// The URL of the private database, for psql. `None` if `DATABASE_URL` is set.
    pub database_url: Option<String>,
    /// A description of the private PostgreSQL server. `None` if `DATABASE_URL` is set.
    pub server_description: Option<String>,
}

/// Runs a demo until a signal ends it. `on_started` is called once everything runs. `embedded`
/// describes the private cluster to start if no database is configured.
///
/// # Errors
/// Returns an error if no database can be started or prepared, or if the port is taken.
pub async fn demo(
    mut settings: Settings,
    embedded: embedded::EmbeddedSettings,
    on_started: impl FnOnce(&DemoInfo),
) -> anyhow::Result<()> {
    let cluster = match &settings.postgres.url {
        Some(_) => None,
        None => Some(tokio::task::spawn_blocking(move || Cluster::start(&embedded)).await??),
    };
    if let Some(cluster) = &cluster {
        create_database(&cluster.url("postgres")).await?;
        settings.postgres.url = Some(Secret::new(cluster.url(DATABASE)));
        settings.postgres.listen_url = None;
    }
    let result = run(settings, cluster.as_ref(), on_started).await;
    if let Some(cluster) = cluster {
        tokio::task::spawn_blocking(move || cluster.stop()).await??;
    }
    result
}

/// Creates the demo's database unless an earlier run did.
async fn create_database(url: &str) -> anyhow::Result<()> {
    let scripts = Database::open(&postgres::Config::new(url))?.script_runner();
    match scripts
        .execute(&format!("CREATE DATABASE {DATABASE}"))
        .await
    {
        Err(error) if error.sqlstate() == Some(DUPLICATE_DATABASE) => Ok(()),
        other => other
            .map(drop)
            .context("the demo's database could not be made"),
    }
}

async fn run(
    mut settings: Settings,
    cluster: Option<&Cluster>,
    on_started: impl FnOnce(&DemoInfo),
) -> anyhow::Result<()> {
    let zone = TimeZone::get(&settings.time_zone).unwrap_or(TimeZone::UTC);
    let app_schemas = app_schemas(&settings.enabled_apps);
    if settings.postgres.instance == InstanceName::default()
        && let Some(own) = InstanceName::parse(INSTANCE)
    {
        settings.postgres.instance = own;
    }
    let database = Database::open(&settings.postgres)?;
    let scripts = database.script_runner();
    if cluster.is_none() {
        refuse_foreign_tables(&database, settings.app_list).await?;
        refuse_foreign_data(&scripts).await?;
    }
    // A second run finds the tables and must not print a notice for each.
    scripts.execute("SET client_min_messages = warning").await?;
    scripts
        .execute(&seed_sql(&zone))
        .await
        .context("the demo's data could not be made")?;
    let serves_services = add_services(&database, &mut settings).await?;
    let mut config = Config::new(settings);
    install_all(&database, &config.catalog, &app_schemas)
        .await
        .context("the triggers could not be installed")?;
    add_own_secret(&mut config.verifier)?;
    let demo = Demo::new(
        Arc::new(PostgresScripts(scripts)),
        Clock::system(),
        zone,
        token_signer(&config.verifier, None),
    );
    let demo = match serves_services {
        true => demo.with_services(),
        false => demo,
    };
    let demo = Arc::new(match config.policy.admin_roles.first().cloned() {
        Some(role) => demo.with_operator_tokens(token_signer(&config.verifier, Some(role))),
        None => demo,
    });
    config.demo = Some(Arc::clone(&demo));
    let app = App::start(config)?;
    let info = demo_info(app.address(), &demo, cluster)?;
    let writer_drain = Drain::new();
    start_writer(demo, ActivityRate::default(), &writer_drain);
    on_started(&info);
    let result = run_until_stopped(app).await;
    writer_drain.drain(Duration::from_secs(1)).await;
    result
}

/// Puts a random secret before the configured ones. The demo gives its tokens to whoever reaches
/// it, so they must count in this process only: a configured secret may be that of a server in
/// production. Its tokens are still accepted.
fn add_own_secret(verifier: &mut VerifierConfig) -> anyhow::Result<()> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    let own = Secret::new(STANDARD.encode(bytes));
    verifier.secrets.insert(0, own);
    Ok(())
}

/// Returns a function that signs demo tokens with the first secret, the demo's own.
fn token_signer(
    verifier: &VerifierConfig,
    role: Option<String>,
) -> impl Fn() -> anyhow::Result<String> + Send + Sync + use<> {
    let secret = verifier.secrets[0].clone();
    let spec = TokenSpec {
        user: ADMIN_USER.to_owned(),
        negocios: BUSINESSES
            .iter()
            .map(|business| business.id.to_owned())
            .collect(),
        role,
        issuer: verifier.issuer.clone(),
        audience: verifier.audience.clone(),
        ..TokenSpec::default()
    };
    move || Ok(issue(&secret, &spec, &Clock::system(), TOKEN_LIFETIME)?)
}

fn demo_info(
    address: SocketAddr,
    demo: &Demo,
    cluster: Option<&Cluster>,
) -> anyhow::Result<DemoInfo> {
    // A server on all interfaces is reached through loopback. The demo routes accept no other host.
    let host = if address.ip().is_unspecified() {
        "127.0.0.1".to_owned()
    } else {
        SocketAddr::new(address.ip(), 0).ip().to_string()
    };
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    let port = address.port();
    Ok(DemoInfo {
        page_url: format!("http://{host}:{port}/"),
        socket_url: format!("ws://{host}:{port}/ws"),
        token: Secret::new(demo.session()?.token()),
        channel: format!("estadisticas:{}", BUSINESSES[0].id),
        database_url: cluster.map(|cluster| cluster.url(DATABASE)),
        server_description: cluster.map(|cluster| cluster.server_description().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use latido_auth::{TokenSender, Verifier};

    use super::*;

    #[tokio::test]
    async fn demo_tokens_are_signed_with_a_secret_of_their_own() {
        let production = VerifierConfig {
            secrets: vec![Secret::new("the secret of a server in production")],
            ..VerifierConfig::default()
        };
        let mut demo = production.clone();
        add_own_secret(&mut demo).unwrap();
        let token = token_signer(&demo, Some("admin_sistema".to_owned()))().unwrap();
        let verify = async |config: &VerifierConfig| {
            let verifier = Verifier::new(config, Clock::system()).unwrap();
            let sender = TokenSender::at(None);
            verifier.verify(&token, &sender).await.is_ok()
        };
        assert!(verify(&demo).await);
        assert!(!verify(&production).await);
    }
}
