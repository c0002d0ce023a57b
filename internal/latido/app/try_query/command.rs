//! Runs the command: examines the query, serves its page, and ends with a signal.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use tokio::signal::unix::{SignalKind, signal};

use super::live_query::{LiveQuery, LiveQueryConfig, parse_key};
use super::query_file::QueryFile;
use crate::config::TrySettings;
use latido_base::drain::Drain;
use latido_http::{self as http, HttpListener};
use latido_postgres::{Database, QueryPreview};

/// The port if none is set and no other program has it.
const PORT: u16 = 8_080;
/// The time that open pages have to disconnect at the end.
const GRACE: Duration = Duration::from_secs(2);

/// The query to show, and how.
#[derive(Debug, Clone)]
pub struct TryOptions {
    /// The file with the query.
    pub file: PathBuf,
    /// The names of the key parts, or `None` to take those of the first columns.
    pub keys: Option<Vec<String>>,
    /// The key that the page shows first, as a channel's name writes it.
    pub key: Option<String>,
    /// The time between two reads while a page is open.
    pub every: Duration,
    /// The name of this program, for the commands to go on with.
    pub program: String,
}

/// The information that the command prints once the page is served.
#[derive(Debug)]
pub struct TryInfo {
    /// The URL of the page.
    pub page_url: String,
    /// The name of the stream.
    pub name: String,
    /// What the query reads.
    pub preview: QueryPreview,
    /// The commands that make the query a stream.
    pub next: Vec<String>,
}

/// Shows a query on a page of this machine until a signal ends it. Nothing is written to the
/// database.
///
/// # Errors
/// Returns an error if the query cannot be shown, or if the port is taken.
pub async fn try_query(
    settings: TrySettings,
    options: TryOptions,
    on_started: impl FnOnce(&TryInfo),
) -> anyhow::Result<()> {
    let file = QueryFile::new(options.file);
    let text = file.read().with_context(|| {
        let path = file.path_text();
        format!("{path} cannot be read; expected the path of a file with one SELECT")
    })?;
    let next = file.next_commands(&options.program);
    let zone = TimeZone::get(&settings.time_zone).unwrap_or(TimeZone::UTC);
    let config = LiveQueryConfig {
        database: Database::open(&settings.postgres)?,
        file,
        keys: options.keys,
        initial_key: options.key,
        every: options.every,
        zone,
        zone_name: settings.time_zone,
        next,
    };
    let examined = config.examine(&text).await;
    let examined = examined.map_err(|problem| {
        let path = config.file.path_text();
        anyhow::anyhow!("{path}: {}", problem.message)
    })?;
    if let Some(key) = &config.initial_key {
        parse_key(&examined, key).context("--key")?;
    }
    let listener = bind(settings.port)?;
    let info = TryInfo {
        page_url: format!("http://{}/", listener.address()),
        name: config.file.name.clone(),
        preview: examined.preview.clone(),
        next: config.next.clone(),
    };
    let database = config.database.clone();
    let query = Arc::new(LiveQuery::new(config, examined));
    let result = serve(listener, query, text, || on_started(&info)).await;
    database.close();
    result
}

/// Binds the port on loopback, and no other address.
fn bind(port: Option<u16>) -> anyhow::Result<HttpListener> {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match port {
        Some(port) => http::bind(&[address(port)]).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                anyhow::anyhow!("PORT: {port} is taken; expected a free port, or none for any")
            }
            _ => error.into(),
        }),
        None => Ok(http::bind(&[address(PORT), address(0)])?),
    }
}

async fn serve(
    listener: HttpListener,
    query: Arc<LiveQuery>,
    text: String,
    on_started: impl FnOnce(),
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("can't watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't watch for SIGINT")?;
    let drain = Drain::new();
    let (reads, pages) = (Arc::clone(&query), drain.clone());
    drain.spawn_until_stop(async move { reads.run(text).await });
    drain.spawn(async move { http::serve_try_page(listener, query, &pages).await });
    on_started();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = drain.stopping() => anyhow::bail!("the page cannot be served; see the log for details"),
    }
    drain.drain(GRACE).await;
    Ok(())
}
