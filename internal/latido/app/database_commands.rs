//! The commands `latido install`, `uninstall` and `doctor`, which change or examine a database.

use crate::apps::{messaging, modules};
use crate::config::Settings;
use latido_auth::check_secret;
use latido_postgres::apps::messaging::MessagingDatabase;
use latido_postgres::{self as postgres, Database, Finding, InstallChange, examine};
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
    let schemas = app_schemas(&settings.app_names);
    let (database, catalog) = open_database(settings)?;
    install_all(&database, &catalog, &schemas).await
}

/// Installs the apps' tables first and then the triggers, because the stream of an app reads its
/// tables.
pub(super) async fn install_all(
    database: &Database,
    catalog: &Catalog,
    schemas: &[AppSchema],
) -> anyhow::Result<Vec<InstallChange>> {
    let mut changes = Vec::new();
    for (name, version_table, sql) in schemas {
        changes.push(database.install_app(name, version_table, sql).await?);
    }
    changes.extend(database.install(catalog).await?);
    Ok(changes)
}

/// Returns the script that [`install`] would run.
///
/// # Errors
/// The same errors as [`install`].
pub async fn install_sql(settings: Settings) -> anyhow::Result<String> {
    let schemas = app_schemas(&settings.app_names);
    let (database, catalog) = open_database(settings)?;
    let mut script: String = schemas
        .iter()
        .map(|(name, version_table, sql)| database.install_app_sql(name, version_table, sql))
        .collect();
    script.push_str(&database.install_sql(&catalog).await?);
    Ok(script)
}

/// An app's database schema: its name, the table whose comment holds the schema version, and the
/// SQL that creates it.
pub(super) type AppSchema = (&'static str, &'static str, &'static str);

/// Returns the database schemas of these apps, as far as they have one.
pub(super) fn app_schemas(apps: &[&str]) -> Vec<AppSchema> {
    let schemas = [
        (
            messaging::NAME,
            "messaging_changes",
            postgres::apps::messaging::SCHEMA_SQL,
        ),
        (
            modules::NAME,
            "module_state",
            postgres::apps::modules::SCHEMA_SQL,
        ),
    ];
    schemas
        .into_iter()
        .filter(|(name, _, _)| apps.contains(name))
        .collect()
}

/// Removes the installed triggers and functions of the streams and of the modules app.
///
/// # Errors
/// The same errors as [`install`].
pub async fn uninstall(settings: Settings) -> anyhow::Result<Vec<InstallChange>> {
    let (database, _) = open_database(settings)?;
    let changes = database.uninstall().await?;
    let scripts = database.script_runner();
    scripts.execute("SET client_min_messages = warning").await?;
    scripts
        .execute(postgres::apps::modules::REMOVAL_SQL)
        .await?;
    Ok(changes)
}

/// Returns the script that [`uninstall`] would run.
///
/// # Errors
/// The same errors as [`install`].
pub async fn uninstall_sql(settings: Settings) -> anyhow::Result<String> {
    let (database, _) = open_database(settings)?;
    Ok(database.uninstall_sql().await? + postgres::apps::modules::REMOVAL_SQL)
}

/// Examines the settings and the database, and returns the findings.
///
/// # Errors
/// Returns an error if no database is configured. An unreachable one is reported as a finding.
pub async fn doctor(settings: Settings) -> anyhow::Result<Vec<Finding>> {
    let mut findings = examine_settings(&settings);
    let has_messaging = settings.app_names.contains(&messaging::NAME);
    let (database, catalog) = open_database(settings)?;
    findings.extend(examine(&database, &catalog).await);
    if has_messaging {
        findings.push(
            match MessagingDatabase::new(database).check_schema().await {
                Ok(()) => Finding::ok("messaging", "its tables are there"),
                Err(error) => Finding::failure("messaging", error.to_string())
                    .remedy("latido install, with the app switched on"),
            },
        );
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
