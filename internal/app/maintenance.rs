//! `latido install`, `uninstall` and `doctor`: what is done to a database, and what is found out about it.

use crate::app::config::database_config;
use crate::config::Settings;
use crate::postgres::{Change, Database, Finding, examine};
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
    let (database, catalog) = open(settings)?;
    Ok(database.install(&catalog).await?)
}

/// The script that [`install`] would run.
///
/// # Errors
/// As [`install`].
pub async fn install_sql(settings: Settings) -> anyhow::Result<String> {
    let (database, catalog) = open(settings)?;
    Ok(database.install_sql(&catalog).await?)
}

/// Removes whatever was installed.
///
/// # Errors
/// As [`install`].
pub async fn uninstall(settings: Settings) -> anyhow::Result<Vec<Change>> {
    let (database, _) = open(settings)?;
    Ok(database.uninstall().await?)
}

/// The script that [`uninstall`] would run.
///
/// # Errors
/// As [`install`].
pub async fn uninstall_sql(settings: Settings) -> anyhow::Result<String> {
    let (database, _) = open(settings)?;
    Ok(database.uninstall_sql().await?)
}

/// Examines the database.
///
/// # Errors
/// No database is configured; one that can't be reached is a finding.
pub async fn doctor(settings: Settings) -> anyhow::Result<Vec<Finding>> {
    let (database, catalog) = open(settings)?;
    Ok(examine(&database, &catalog).await)
}
