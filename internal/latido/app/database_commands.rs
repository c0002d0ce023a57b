//! The commands `latido install`, `uninstall` and `doctor`, which change or examine a database.

use crate::config::Settings;
use latido_app_kit::{App, AppSchema};
use latido_auth::check_secret;
use latido_postgres::{Database, Finding, InstallChange, examine};
use latido_stream::Catalog;

/// Opens the configured database and builds the catalog of streams.
fn open_database(settings: Settings) -> anyhow::Result<(Database, Catalog)> {
    let database = Database::open(&settings.postgres)?;
    Ok((database, Catalog::new(settings.streams)))
}

/// Installs the tables of enabled apps and the triggers of every stream.
///
/// # Errors
/// Returns an error if the database is unavailable, a table or column is missing, or a lock cannot
/// be acquired.
pub async fn install(settings: Settings) -> anyhow::Result<Vec<InstallChange>> {
    let schemas = app_schemas(&settings.enabled_apps);
    let (database, catalog) = open_database(settings)?;
    install_all(&database, &catalog, &schemas).await
}

/// Installs the apps' tables first and then the triggers, because the stream of an app reads its
/// tables.
pub(super) async fn install_all(
    database: &Database,
    catalog: &Catalog,
    schemas: &[&AppSchema],
) -> anyhow::Result<Vec<InstallChange>> {
    // Before anything is changed. The streams of apps may lack their tables still.
    if let Err(error) = database.check_streams(catalog).await {
        database.remove_stale_triggers(catalog).await?;
        return Err(error.into());
    }
    let mut changes = Vec::new();
    for schema in schemas {
        changes.push(database.install_app(schema).await?);
    }
    changes.extend(database.install(catalog).await?);
    let warnings = database.check_streams(catalog).await?;
    changes.extend(warnings.into_iter().map(InstallChange::Warning));
    Ok(changes)
}

/// Returns the script that [`install`] would run.
///
/// # Errors
/// The same errors as [`install`].
pub async fn install_sql(settings: Settings) -> anyhow::Result<String> {
    let schemas = app_schemas(&settings.enabled_apps);
    let (database, catalog) = open_database(settings)?;
    database.check_streams(&catalog).await?;
    let scripts = schemas
        .iter()
        .map(|schema| database.install_app_sql(schema));
    let mut script: String = scripts.collect();
    script.push_str(&database.install_sql(&catalog).await?);
    Ok(script)
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
    let (database, _) = open_database(settings)?;
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
    let (database, _) = open_database(settings)?;
    Ok(database.uninstall_sql(&schemas).await?)
}

/// Examines the settings and the database, and returns the findings.
///
/// # Errors
/// Returns an error if no database is configured. An unreachable one is reported as a finding.
pub async fn doctor(settings: Settings) -> anyhow::Result<Vec<Finding>> {
    let mut findings = examine_settings(&settings);
    let apps = settings.enabled_apps.clone();
    let (database, catalog) = open_database(settings)?;
    findings.extend(examine(&database, &catalog).await);
    for app in apps {
        findings.extend(app.examine(&database).await);
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
