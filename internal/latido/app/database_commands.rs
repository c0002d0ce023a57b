//! The commands `latido install`, `uninstall`, `grants` and `doctor`, which change or examine a
//! database.

use crate::app::stream_inference::{
    OFF_REASON, complete_all, complete_for_installation, drop_absent_builtin,
};
use crate::config::{BUILTIN_REMEDY, Settings, builtin_reads, is_builtin};
use latido_app_kit::{App, AppSchema};
use latido_auth::check_secret;
use latido_postgres::{
    Database, Finding, InferenceAccess, InstallChange, InstallError, Migration, ServingNeeds,
    TableGrant, TableProblem, examine_for, examine_lookups, grant_script,
};
use latido_stream::Catalog;

/// The role that `sql/role.sql` creates to serve, and the default of `latido grants`.
pub const SERVING_ROLE: &str = "latido";

/// The configured database, the streams, and what serving them needs.
struct Installation {
    database: Database,
    catalog: Catalog,
    tables: Vec<TableGrant>,
    apps: Vec<&'static AppSchema>,
}

impl Installation {
    fn new(database: Database, settings: Settings) -> Self {
        Self {
            database,
            tables: builtin_reads(&settings.streams),
            apps: app_schemas(&settings.enabled_apps),
            catalog: Catalog::new(settings.streams),
        }
    }

    /// Opens the configured database, and completes the streams as a server does. Returns whether the
    /// built-in stream is off. A database that fails leaves everything as it is.
    async fn open_complete(mut settings: Settings) -> anyhow::Result<(Self, bool)> {
        let database = Database::open(&settings.postgres)?;
        let is_off = drop_absent_builtin(&database, &mut settings).await;
        if let Ok(recorded) = database.recorded_streams().await {
            let access = InferenceAccess::TemporaryFunctions;
            complete_all(&database, &mut settings.streams, &recorded, access).await;
        }
        Ok((Self::new(database, settings), is_off.unwrap_or(false)))
    }

    /// Opens the configured database, and completes the streams for an installation. Returns what was
    /// inferred, and what was left out.
    async fn open_for_installation(
        mut settings: Settings,
    ) -> anyhow::Result<(Self, Vec<InstallChange>)> {
        let database = Database::open(&settings.postgres)?;
        let mut changes = Vec::new();
        if drop_absent_builtin(&database, &mut settings).await? {
            changes.push(InstallChange::Warning(format!(
                "stream estadisticas is {OFF_REASON}"
            )));
        }
        changes.extend(complete_for_installation(&database, &mut settings.streams).await?);
        Ok((Self::new(database, settings), changes))
    }

    fn needs(&self) -> ServingNeeds<'_> {
        ServingNeeds {
            catalog: &self.catalog,
            tables: &self.tables,
            apps: &self.apps,
        }
    }
}

/// Installs the tables of enabled apps and the triggers of every stream.
///
/// # Errors
/// Returns an error if the database is unavailable, a table or column is missing, a lock cannot be
/// acquired, or objects of the same names belong to other roles.
pub async fn install(settings: Settings) -> anyhow::Result<Vec<InstallChange>> {
    let (installation, mut changes) = Installation::open_for_installation(settings).await?;
    let Installation {
        database,
        catalog,
        apps,
        ..
    } = &installation;
    changes.extend(install_all(database, catalog, apps).await?);
    changes.extend(check_serving_role(&installation).await);
    Ok(changes)
}

/// Returns a warning if the documented serving role exists and lacks privileges. What cannot be
/// checked is left to the doctor.
async fn check_serving_role(installation: &Installation) -> Option<InstallChange> {
    let database = &installation.database;
    let grants = database.serving_grants(installation.needs()).await.ok()?;
    let missing = database
        .missing_grants(SERVING_ROLE, &grants)
        .await
        .ok()??;
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let text = format!(
        "the role {SERVING_ROLE} lacks {}; if it is to serve, run `latido grants --role {SERVING_ROLE} --apply`",
        names.join(", ")
    );
    (!names.is_empty()).then_some(InstallChange::Warning(text))
}

/// Returns the statements that give a role every privilege that a server needs. With `apply` they
/// are run as well, in one transaction.
///
/// # Errors
/// Returns an error if the database is unavailable, a table is missing, or the statements fail.
pub async fn grants(settings: Settings, role: &str, apply: bool) -> anyhow::Result<String> {
    let (installation, _) = Installation::open_complete(settings).await?;
    let database = &installation.database;
    let grants = database.serving_grants(installation.needs()).await?;
    if apply {
        database.grant_all(role, &grants).await?;
    }
    Ok(grant_script(role, &grants))
}

/// Installs the apps' tables first and then the triggers, because the stream of an app reads its
/// tables.
pub(super) async fn install_all(
    database: &Database,
    catalog: &Catalog,
    schemas: &[&AppSchema],
) -> anyhow::Result<Vec<InstallChange>> {
    // Before anything is changed. The streams of apps may lack their tables still.
    let checked = match database.check_streams(catalog).await {
        Ok(checked) => checked,
        Err(error) => {
            database.remove_failing_triggers().await?;
            let is_planned = |problem: &TableProblem| is_planned(problem, schemas);
            let error = database.add_table_problems(catalog, error, is_planned);
            return Err(add_remedy(error.await, catalog));
        }
    };
    let mut changes = Vec::new();
    for schema in schemas {
        changes.push(database.install_app(schema).await?);
    }
    let installed = database.install(catalog).await;
    changes.extend(installed.map_err(|error| add_refused(add_remedy(error, catalog), &checked))?);
    changes.extend(database.check_streams(catalog).await?);
    Ok(changes)
}

/// Adds the queries that the database refuses to the error of an installation.
fn add_refused(error: anyhow::Error, checked: &[InstallChange]) -> anyhow::Error {
    let refused = checked.iter().filter_map(|change| match change {
        InstallChange::Refused(refused) if !refused.is_missing_table() => {
            Some(format!("\n{refused}"))
        }
        _ => None,
    });
    let refused: String = refused.collect();
    match refused.is_empty() {
        true => error,
        false => anyhow::anyhow!("{error}{refused}"),
    }
}

/// Adds to the error of an installation how to do without the built-in stream, if it is the cause.
fn add_remedy(error: InstallError, catalog: &Catalog) -> anyhow::Error {
    let concerns_builtin = error.table_problems().into_iter().any(|problem| {
        matches!(problem, TableProblem::NotFound { stream, .. }
            if catalog.iter().any(|(_, s)| s.name == *stream && is_builtin(s)))
    });
    if concerns_builtin {
        anyhow::anyhow!("{error}\n{BUILTIN_REMEDY}")
    } else {
        error.into()
    }
}

/// Returns the script that [`install`] would run now.
///
/// # Errors
/// The same errors as [`install`].
pub async fn install_sql(settings: Settings) -> anyhow::Result<String> {
    let (installation, changes) = Installation::open_for_installation(settings).await?;
    let Installation {
        database,
        catalog,
        apps,
        ..
    } = installation;
    database.check_streams(&catalog).await?;
    let mut script: String = changes.iter().map(change_note).collect();
    for schema in &apps {
        script.push_str(&database.install_app_sql(schema).await?);
    }
    let triggers = match database.install_sql(&catalog).await {
        Err(InstallError::UnsupportedTables(problems)) if are_planned(&problems, &apps) => {
            let present = catalog.filtered(|stream| {
                let is_of = |problem: &TableProblem| problem.stream() == Some(&stream.name);
                !problems.iter().any(is_of)
            });
            script.push_str(&planned_note(&problems));
            database.install_sql(&present).await
        }
        planned => planned,
    };
    script.push_str(&triggers.map_err(|error| add_remedy(error, &catalog))?);
    Ok(script)
}

/// Returns what [`install`] would do now as a migration, or `None` if there is nothing to do.
///
/// # Errors
/// The same errors as [`install`]. A stream over tables that an app has not created yet is one.
pub async fn migration(settings: Settings) -> anyhow::Result<Option<Migration>> {
    let (installation, changes) = Installation::open_for_installation(settings).await?;
    let left_out = changes.into_iter().find_map(|change| match change {
        InstallChange::LeftOut(text) => Some(text),
        _ => None,
    });
    if let Some(text) = left_out {
        anyhow::bail!(text);
    }
    let Installation {
        database,
        catalog,
        apps,
        ..
    } = installation;
    database.check_streams(&catalog).await?;
    let migration = database.migration(&catalog, &apps).await;
    migration.map_err(|error| add_remedy(error, &catalog))
}

/// Returns whether the only problems are tables that the script of an app creates.
fn are_planned(problems: &[TableProblem], apps: &[&AppSchema]) -> bool {
    problems.iter().all(|problem| is_planned(problem, apps))
}

/// Returns whether the problem is a table that the script of an app creates.
fn is_planned(problem: &TableProblem, apps: &[&AppSchema]) -> bool {
    match problem {
        TableProblem::NotFound { table, .. } => {
            apps.iter().any(|schema| schema.creates_table(table))
        }
        _ => false,
    }
}

/// Returns a comment for a script about what was inferred or left out.
fn change_note(change: &InstallChange) -> String {
    let text = match change {
        InstallChange::Inferred(text) => format!("inferred {text}"),
        InstallChange::LeftOut(text) => format!("left out: {text}"),
        InstallChange::Refused(error) => format!("refused: {error}"),
        InstallChange::Warning(text) => text.clone(),
        InstallChange::Installed(_) | InstallChange::Unchanged(_) | InstallChange::Removed(_) => {
            return String::new();
        }
    };
    comment(&text)
}

/// Returns a text as lines of a comment in SQL, which a carriage return ends as well.
fn comment(text: &str) -> String {
    let lines = text.split(['\n', '\r']).filter(|line| !line.is_empty());
    lines.map(|line| format!("-- {line}\n")).collect()
}

/// Returns a comment for a script whose tables do not exist yet.
fn planned_note(problems: &[TableProblem]) -> String {
    let lines = problems.iter().filter_map(|problem| match problem {
        TableProblem::NotFound { stream, table, .. } => {
            Some(comment(&format!("stream {stream}, table {table}")))
        }
        _ => None,
    });
    let lines: String = lines.collect();
    format!(
        "\n-- The triggers of these tables follow their creation above: `latido install` adds them, and after the script above \n\
         -- `latido install --dry-run` prints them.\n{lines}\n"
    )
}

/// Returns the database schemas of these apps, as far as they have one.
pub(super) fn app_schemas(apps: &[&'static dyn App]) -> Vec<&'static AppSchema> {
    apps.iter().filter_map(|app| app.schema()).collect()
}

/// Removes everything that was installed: the triggers and functions of the streams and of every
/// app in this build, enabled or not. The data of apps stays.
///
/// # Errors
/// The same errors as [`install`].
pub async fn uninstall(settings: Settings) -> anyhow::Result<Vec<InstallChange>> {
    let schemas: Vec<_> = settings
        .app_list
        .iter()
        .filter_map(|app| app.schema())
        .collect();
    let database = Database::open(&settings.postgres)?;
    Ok(database.uninstall(&schemas).await?)
}

/// Returns the script that [`uninstall`] would run.
///
/// # Errors
/// The same errors as [`install`].
pub async fn uninstall_sql(settings: Settings) -> anyhow::Result<String> {
    let schemas: Vec<_> = settings
        .app_list
        .iter()
        .filter_map(|app| app.schema())
        .collect();
    let database = Database::open(&settings.postgres)?;
    Ok(database.uninstall_sql(&schemas).await?)
}

/// Examines the settings and the database, and returns the findings. With `lookups` it also tries to
/// refute the keys that the streams' tables find.
///
/// # Errors
/// Returns an error if no database is configured. An unreachable one is reported as a finding.
pub async fn doctor(settings: Settings, lookups: bool) -> anyhow::Result<Vec<Finding>> {
    let mut findings = examine_settings(&settings);
    let apps = settings.enabled_apps.clone();
    let (installation, is_off) = Installation::open_complete(settings).await?;
    if is_off {
        findings.push(Finding::ok("stream estadisticas", OFF_REASON));
    }
    findings.extend(examine_for(&installation.database, installation.needs()).await);
    if lookups {
        findings.extend(examine_lookups(&installation.database, &installation.catalog).await);
    }
    for app in apps {
        findings.extend(app.examine(&installation.database).await);
    }
    Ok(findings)
}

/// Examines settings without a connection: the keys, the time zone, and all warnings of the
/// settings.
fn examine_settings(settings: &Settings) -> Vec<Finding> {
    let keys = &settings.verifier;
    let mut findings = Vec::new();
    for secret in &keys.secrets {
        findings.push(match check_secret(secret, false) {
            Ok(()) => Finding::ok("token secret", "long enough"),
            Err(error) if keys.allow_weak_secrets => {
                Finding::warning("token secret", error.to_string())
            }
            Err(error) => Finding::failure(
                "token secret",
                format!("`latido serve` would not start: {error}"),
            ),
        });
    }
    if keys.public_keys.is_some() || keys.jwks_url.is_some() {
        findings.push(Finding::ok(
            "token keys",
            "the issuer's public keys are configured",
        ));
    } else if keys.secrets.is_empty() {
        let detail = "`latido serve` would not start: none of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL is set";
        findings.push(
            Finding::failure("token secret", detail)
                .remedy("the secret of whoever signs the tokens, in JWT_SECRET"),
        );
    }
    findings.push(Finding::ok(
        "TIMEZONE",
        format!(
            "«today» is that of {} unless a stream says otherwise",
            settings.time_zone
        ),
    ));
    findings.extend(
        settings
            .warnings
            .iter()
            .map(|warning| Finding::warning("settings", warning)),
    );
    findings
}
