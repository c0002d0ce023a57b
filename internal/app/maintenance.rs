//! `latido install`, `uninstall` and `doctor`: what is done to a database, and what is found out about it.

use crate::app::config::database_config;
use crate::apps::{messaging, modules};
use crate::auth::check_secret;
use crate::config::Settings;
use crate::postgres::apps::messaging::Messages;
use crate::postgres::{self, Change, Database, Finding, examine};
use crate::stream::Catalog;

/// Opens the configured database, for its streams.
fn open(settings: Settings) -> anyhow::Result<(Database, Catalog)> {
    let database = Database::open(&database_config(&settings.database)?)?;
    Ok((database, Catalog::new(settings.streams)))
}

/// Installs the triggers of every stream.
///
/// # Errors
/// The database is away, a table or column is missing, or a lock could not be had.
pub async fn install(settings: Settings) -> anyhow::Result<Vec<Change>> {
    let kept = kept_by(&settings.app_names);
    let (database, catalog) = open(settings)?;
    install_all(&database, &catalog, &kept).await
}

/// Installs what the apps keep, and then the triggers: an app's stream reads its tables.
pub(super) async fn install_all(
    database: &Database,
    catalog: &Catalog,
    kept: &[Kept],
) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for (name, marked, sql) in kept {
        changes.push(database.install_app(name, marked, sql).await?);
    }
    changes.extend(database.install(catalog).await?);
    Ok(changes)
}

/// The script that [`install`] would run.
///
/// # Errors
/// As [`install`].
pub async fn install_sql(settings: Settings) -> anyhow::Result<String> {
    let kept = kept_by(&settings.app_names);
    let (database, catalog) = open(settings)?;
    let mut script: String = kept
        .iter()
        .map(|(name, marked, sql)| database.install_app_sql(name, marked, sql))
        .collect();
    script.push_str(&database.install_sql(&catalog).await?);
    Ok(script)
}

/// An app's name, the table that says which form its tables have, and the SQL that makes them.
pub(super) type Kept = (&'static str, &'static str, &'static str);

/// What these apps keep in the database.
pub(super) fn kept_by(apps: &[&str]) -> Vec<Kept> {
    let kept = [
        (
            messaging::NAME,
            "messaging_changes",
            postgres::apps::messaging::SCHEMA,
        ),
        (
            modules::NAME,
            "module_state",
            postgres::apps::modules::SCHEMA,
        ),
    ];
    kept.into_iter()
        .filter(|(name, _, _)| apps.contains(name))
        .collect()
}

/// Removes whatever was installed.
///
/// # Errors
/// As [`install`].
pub async fn uninstall(settings: Settings) -> anyhow::Result<Vec<Change>> {
    let (database, _) = open(settings)?;
    let changes = database.uninstall().await?;
    let scripts = database.scripts();
    scripts.execute("SET client_min_messages = warning").await?;
    scripts.execute(postgres::apps::modules::REMOVAL).await?;
    Ok(changes)
}

/// The script that [`uninstall`] would run.
///
/// # Errors
/// As [`install`].
pub async fn uninstall_sql(settings: Settings) -> anyhow::Result<String> {
    let (database, _) = open(settings)?;
    Ok(database.uninstall_sql().await? + postgres::apps::modules::REMOVAL)
}

/// Examines the settings and the database.
///
/// # Errors
/// No database is configured; one that can't be reached is a finding.
pub async fn doctor(settings: Settings) -> anyhow::Result<Vec<Finding>> {
    let mut findings = examine_settings(&settings);
    let has_messaging = settings.app_names.contains(&messaging::NAME);
    let (database, catalog) = open(settings)?;
    findings.extend(examine(&database, &catalog).await);
    if has_messaging {
        findings.push(match Messages::new(database).check().await {
            Ok(()) => Finding::ok("messaging", "its tables are there"),
            Err(error) => Finding::failure("messaging", error.to_string())
                .remedy("latido install, with the app switched on"),
        });
    }
    Ok(findings)
}

/// What can be said before anything is connected to: keys, the time zone, whatever the settings warn of.
fn examine_settings(settings: &Settings) -> Vec<Finding> {
    let keys = &settings.auth.verifier;
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
