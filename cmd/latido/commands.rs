//! The subcommands that call the library and print the result.

use std::path::Path;

use anyhow::Context as _;
use latido::app;
use latido::config::{Settings, all_variables, markdown_page, plain_table};
use latido::migration::MigrationTool;
use latido_postgres::{Finding, FindingLevel, InstallChange};
use latido_telemetry as telemetry;

use crate::output::{print, print_next, print_note};

/// Runs `latido serve` until the server stops.
pub(crate) fn serve(settings: Settings, source: app::ReloadSource) -> anyhow::Result<()> {
    start_logs(&settings);
    block_on(app::serve(
        settings,
        source,
        |address| tracing::info!(%address, "listening"),
    ))
}

/// Runs `latido install`, or prints its SQL.
pub(crate) fn install(settings: Settings, dry_run: bool) -> anyhow::Result<()> {
    if dry_run {
        print(&block_on(app::install_sql(settings))?)?;
        return print_next("latido install");
    }
    let is_config_named = settings.config_path.is_some();
    let has_keys = settings.verifier.has_keys();
    let changes = block_on(app::install(settings))?;
    let nothing = "there is no table to install triggers on";
    print(&format_changes(&changes, nothing))?;
    let count = |is_meant: fn(&&InstallChange) -> bool| changes.iter().filter(is_meant).count();
    let left_out = count(|change| matches!(change, InstallChange::LeftOut(_)));
    let refused = count(|change| matches!(change, InstallChange::Refused(_)));
    if count(|change| matches!(change, InstallChange::Removed(_))) > 0 {
        print_note(
            "what was removed is of no stream here; several projects in one database need a LATIDO_INSTANCE each",
        )?;
    }
    if left_out > 0 {
        print_next(match is_config_named {
            true => "mend the streams that were left out, then latido install",
            false => {
                "mend the queries, or choose entries for latido.toml; then LATIDO_CONFIG=latido.toml latido install"
            }
        })?;
        anyhow::bail!("streams left out: {left_out}; the others are installed");
    }
    anyhow::ensure!(
        refused == 0,
        "the triggers are installed, but the database refuses {refused} of the streams' queries: \
         a server would not serve these streams"
    );
    if !has_keys {
        print_next(r#"export JWT_SECRET="$(openssl rand -base64 48)""#)?;
        return print_note("      latido serve");
    }
    print_next("latido serve")
}

/// Runs `latido install --migration`: writes what it would do for a migration tool.
pub(crate) fn write_migration(
    settings: Settings,
    tool: MigrationTool,
    folder: &Path,
) -> anyhow::Result<()> {
    let Some(migration) = block_on(app::migration(settings))? else {
        return print("nothing to migrate: everything is installed\n");
    };
    let files = tool.write(&migration, folder, jiff::Timestamp::now())?;
    let lines: String = files
        .iter()
        .map(|file| format!("written    {}\n", file.display()))
        .collect();
    print(&lines)?;
    print_next(&tool.next_step(folder, &files))
}

/// Runs `latido grants`.
pub(crate) fn grants(settings: Settings, role: &str, apply: bool) -> anyhow::Result<()> {
    print(&block_on(app::grants(settings, role, apply))?)?;
    match apply {
        true => print_next(&format!("latido serve, as the role {role}")),
        false => print_next(&format!("latido grants --role {role} --apply")),
    }
}

/// Runs `latido add`: appends the entry of an SQL file to the configuration, or prints it.
pub(crate) fn add(settings: Settings, file: &Path, only_print: bool) -> anyhow::Result<()> {
    let named = settings.config_path.clone();
    let config = named.as_deref().unwrap_or(Path::new(app::DEFAULT_CONFIG));
    let entry = block_on(app::stream_of_file(settings, file, config))?;
    for warning in &entry.warnings {
        print_note(&format!("stream {}: {warning}", entry.name))?;
    }
    for check in &entry.checks {
        print_note(finding_text(check).trim_end())?;
    }
    print(&entry.text)?;
    if only_print {
        return print_next(&format!("latido add {}", file.display()));
    }
    app::append_entry(config, &entry)?;
    let path = config.display();
    print_note(&format!("added to {path}"))?;
    match named {
        Some(_) => print_next("latido install"),
        None => print_next(&format!("LATIDO_CONFIG={path} latido install")),
    }
}

/// Runs `latido uninstall`, or prints its SQL.
pub(crate) fn uninstall(settings: Settings, dry_run: bool) -> anyhow::Result<()> {
    if dry_run {
        print(&block_on(app::uninstall_sql(settings))?)?;
        return print_next("latido uninstall");
    }
    print(&format_changes(
        &block_on(app::uninstall(settings))?,
        "nothing was installed",
    ))?;
    print_next("latido install, to have it again")
}

/// Returns a finding as lines of a report.
fn finding_text(finding: &Finding) -> String {
    let mark = match finding.level {
        FindingLevel::Ok => "ok     ",
        FindingLevel::Warning => "warning",
        FindingLevel::Failure => "FAILURE",
    };
    let mut text = format!("{mark}  {}: {}\n", finding.subject, finding.detail);
    if let Some(remedy) = &finding.with_remedy {
        let remedy = remedy.replace('\n', "\n           ");
        text.push_str(&format!("         → {remedy}\n"));
    }
    text
}

/// Runs `latido doctor` and prints its findings.
pub(crate) fn doctor(
    settings: Settings,
    lookups: bool,
    servers: &[app::ServerAddress],
) -> anyhow::Result<()> {
    let findings = block_on(async {
        let mut findings = app::doctor(settings, lookups).await?;
        findings.extend(app::examine_servers(servers).await);
        Ok(findings)
    })?;
    let text: String = findings.iter().map(finding_text).collect();
    print(&text)?;
    let failures = findings
        .iter()
        .filter(|finding| finding.level == FindingLevel::Failure)
        .count();
    if failures == 0 {
        return print_next("latido serve");
    }
    print_next("mend what is marked FAILURE, then latido doctor")?;
    anyhow::bail!("{failures} of {} checks failed", findings.len())
}

/// Runs `latido types --typescript`.
pub(crate) fn types(settings: Settings, out: Option<&Path>) -> anyhow::Result<()> {
    let text = block_on(app::typescript_types(settings))?;
    match out {
        Some(file) => std::fs::write(file, text)
            .with_context(|| format!("{} could not be written", file.display())),
        None => print(&text),
    }
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
pub(crate) fn start_logs(settings: &Settings) {
    telemetry::init_logs(settings.log_filter.as_deref());
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
}

pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
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
        InstallChange::Refused(error) => format!("REFUSED    {error}\n"),
        InstallChange::Warning(text) => format!("warning    {text}\n"),
        InstallChange::Inferred(text) => format!("inferred   {text}\n"),
        InstallChange::LeftOut(text) => format!("LEFT OUT   {text}\n"),
    };
    changes.iter().map(line).collect()
}
