//! The subcommands that call the library and print the result.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use latido::app::{self, DemoInfo};
use latido::config::{Settings, all_variables, markdown_page, plain_table};
use latido_embedded_postgres::{self as embedded, StorageMode, default_state_dir};
use latido_postgres::{FindingLevel, InstallChange};
use latido_telemetry as telemetry;

/// Runs `latido serve` until the server stops.
pub(crate) fn serve(settings: Settings) -> anyhow::Result<()> {
    start_logs(&settings);
    block_on(app::serve(
        settings,
        |address| tracing::info!(%address, "listening"),
    ))
}

/// Runs `latido demo` with a private PostgreSQL.
pub(crate) fn demo(settings: Settings, no_fetch: bool) -> anyhow::Result<()> {
    start_logs(&settings);
    let mut private = embedded::EmbeddedSettings::new(StorageMode::Persistent {
        dir: default_state_dir(),
    });
    private.allow_download = !no_fetch;
    private.bin_dir = std::env::var_os("PG_BIN")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    block_on(app::demo(settings, private, |info| {
        // The demo keeps running even if its terminal is closed.
        let _ = print_welcome(info);
    }))
}

/// Runs `latido install`, or prints its SQL.
pub(crate) fn install(settings: Settings, dry_run: bool) -> anyhow::Result<()> {
    if dry_run {
        return print(&block_on(app::install_sql(settings))?);
    }
    print(&format_changes(
        &block_on(app::install(settings))?,
        "there is no table to install triggers on",
    ))
}

/// Runs `latido uninstall`, or prints its SQL.
pub(crate) fn uninstall(settings: Settings, dry_run: bool) -> anyhow::Result<()> {
    if dry_run {
        return print(&block_on(app::uninstall_sql(settings))?);
    }
    print(&format_changes(
        &block_on(app::uninstall(settings))?,
        "nothing was installed",
    ))
}

/// Runs `latido doctor` and prints its findings.
pub(crate) fn doctor(settings: Settings) -> anyhow::Result<()> {
    let findings = block_on(app::doctor(settings))?;
    let mut text = String::new();
    for finding in &findings {
        let mark = match finding.level {
            FindingLevel::Ok => "ok     ",
            FindingLevel::Warning => "warning",
            FindingLevel::Failure => "FAILURE",
        };
        text.push_str(&format!(
            "{mark}  {}: {}\n",
            finding.subject, finding.detail
        ));
        if let Some(remedy) = &finding.with_remedy {
            text.push_str(&format!(
                "         → {}\n",
                remedy.replace('\n', "\n           ")
            ));
        }
    }
    print(&text)?;
    let failures = findings
        .iter()
        .filter(|finding| finding.level == FindingLevel::Failure)
        .count();
    anyhow::ensure!(
        failures == 0,
        "{failures} of {} checks failed",
        findings.len()
    );
    Ok(())
}

/// Runs `latido settings`: prints the table of all settings.
pub(crate) fn settings(markdown: bool) -> anyhow::Result<()> {
    let variables = all_variables();
    print(&if markdown {
        markdown_page(&variables)
    } else {
        plain_table(&variables)
    })
}

/// Starts logging and logs the warnings about the settings first.
fn start_logs(settings: &Settings) {
    telemetry::init_logs(settings.log_filter.as_deref());
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?
        .block_on(work)
}

fn format_changes(changes: &[InstallChange], nothing: &str) -> String {
    if changes.is_empty() {
        return format!("{nothing}\n");
    }
    let line = |change: &InstallChange| match change {
        InstallChange::Installed(subject) => format!("installed  {subject}\n"),
        InstallChange::Unchanged(subject) => format!("unchanged  {subject}\n"),
        InstallChange::Removed(subject) => format!("removed    {subject}\n"),
    };
    changes.iter().map(line).collect()
}

fn print_welcome(info: &DemoInfo) -> anyhow::Result<()> {
    let DemoInfo {
        page_url: page,
        socket_url: socket,
        token,
        channel,
        database_url: database,
        server_description: found,
    } = info;
    let token = token.expose();
    let program = program_name();
    let mut text = format!(
        "\n  Latido is running: {page}\n\n  In a terminal:\n    LATIDO_TOKEN={token} {program} watch {channel} --url {socket}\n\n  \
         The token, good for an hour: {token}\n"
    );
    if let (Some(database), Some(found)) = (database, found) {
        text.push_str(&format!("\n  {found}\n    psql '{database}'\n"));
    }
    text.push_str("\n  Ctrl-C stops everything; the data stays.\n\n");
    print(&text)
}

/// Returns the program's name as it was invoked, quoted for a shell. The printed command line then
/// works in the same folder even if the program is not in the PATH.
fn program_name() -> String {
    let name = std::env::args()
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "latido".to_owned());
    let needs_no_quotes = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b));
    if needs_no_quotes {
        name
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("could not write to standard output")
}
