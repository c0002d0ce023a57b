//! A table whose triggers are prepared for one variant of a scenario with writers.

use crate::database::citas::run_sql;
use crate::runner::BenchContext;
use crate::server::{self, LatidoSettings};

/// Waits until the server has released the locks of the keys that the variant before watched, which
/// takes 10 s. Without that, a variant without viewers would be measured with keys that seem to be
/// watched.
const AWAIT_RELEASE: &str = "DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock') LOOP
     PERFORM pg_sleep(0.1); END LOOP; END $$";

/// The triggers of a variant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TriggerVariant<'a> {
    /// Whether the installed triggers ask what is watched.
    pub(crate) has_gate: bool,
    /// Whether they fire.
    pub(crate) is_enabled: bool,
    /// Whether nobody may seem to watch anything.
    pub(crate) is_unwatched: bool,
    /// SQL that runs behind all that, such as another trigger.
    pub(crate) extra: &'a str,
}

/// Installs the triggers and prepares those of the table.
pub(crate) fn prepare_table(
    bench: &BenchContext,
    settings: &LatidoSettings,
    table: &str,
    variant: TriggerVariant<'_>,
) -> anyhow::Result<()> {
    let mut variables = settings.variables.to_vec();
    variables.push((
        "INTEREST_GATE",
        if variant.has_gate { "true" } else { "false" },
    ));
    server::install(&LatidoSettings {
        variables: &variables,
        ..settings.clone()
    })?;
    let able = match variant.is_enabled {
        true => "ENABLE",
        false => "DISABLE",
    };
    let await_release = match variant.is_unwatched {
        true => AWAIT_RELEASE,
        false => "SELECT",
    };
    // A new transaction for each statement, so that none sees an older snapshot. ALWAYS, as
    // installed. Vacuum, so that no variant starts with the dead rows of another.
    let always = format!(
        "DO $$ DECLARE t name; BEGIN FOR t IN SELECT tgname FROM pg_trigger WHERE tgname LIKE 'latido%' AND tgenabled = 'O' AND tgrelid = '{table}'::regclass LOOP
         EXECUTE format('ALTER TABLE {table} ENABLE ALWAYS TRIGGER %I', t); END LOOP; END $$"
    );
    run_sql(
        bench.runtime(),
        settings.database,
        &[
            &format!("ALTER TABLE {table} {able} TRIGGER USER"),
            &always,
            variant.extra,
            await_release,
            &format!("VACUUM {table}"),
            "CHECKPOINT",
        ],
    )
}
