//! The service that reads the configuration again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, MutexGuard, oneshot};

use crate::app::reload::ReloadSource;
use crate::app::reload::examination::examine_all;
use crate::app::reload::plan::ReloadPlan;
use crate::app::stream_inference::complete_all;
use crate::config::{FixedFields, Settings, all_variables};
use latido_admin::{Reload, ReloadError, ReloadFuture, ReloadReport};
use latido_app_kit::App;
use latido_auth::Verifier;
use latido_base::drain::Drain;
use latido_base::ident::StreamId;
use latido_engine::Engine;
use latido_hub::Hub;
use latido_postgres::{Database, InferenceAccess, WatchLocks};
use latido_session::SharedLimits;
use latido_settings::ConfigSources;
use latido_shard::Shards;
use latido_stream::{Catalog, Stream, StreamStatus};

/// The variables whose values decide about the streams.
const STREAM_VARIABLES: [&str; 3] = ["LATIDO_CONFIG", "STREAMS_DIR", "TIMEZONE"];

/// The parts of a server that a reload changes. Clones share them.
#[derive(Clone)]
pub(in crate::app) struct ReloadParts {
    pub(in crate::app) database: Database,
    pub(in crate::app) catalog: Arc<Catalog>,
    pub(in crate::app) engine: Engine,
    pub(in crate::app) watch_locks: WatchLocks,
    pub(in crate::app) hub: Arc<Hub>,
    pub(in crate::app) shards: Arc<Shards>,
    pub(in crate::app) verifier: Arc<Verifier>,
    pub(in crate::app) drain: Drain,
    pub(in crate::app) limits: SharedLimits,
    /// True if the built-in stream is off where the database lacks its tables. Relaxed: the next look
    /// at the stream suffices.
    pub(in crate::app) builtin_is_optional: Arc<AtomicBool>,
    /// The part of the configuration file that counts after a restart only.
    pub(in crate::app) fixed_fields: FixedFields,
    /// The apps that run.
    pub(in crate::app) apps: Vec<&'static dyn App>,
}

/// Reads the configuration again and applies what changed; see the module's documentation.
#[derive(Clone)]
pub(in crate::app) struct Reloader {
    source: ReloadSource,
    parts: Arc<ReloadParts>,
    /// The variables at the start of the server, and those that were applied last. Held while a
    /// reload runs, so that one follows another.
    variables: Arc<Mutex<AppliedVariables>>,
}

struct AppliedVariables {
    at_start: ConfigSources,
    last: ConfigSources,
    /// The number of definitions of streams so far.
    revision: u32,
}

impl Reloader {
    pub(in crate::app) fn new(source: ReloadSource, parts: ReloadParts) -> Self {
        let variables = AppliedVariables {
            at_start: source.sources(),
            last: source.sources(),
            revision: 0,
        };
        Self {
            source,
            parts: Arc::new(parts),
            variables: Arc::new(Mutex::new(variables)),
        }
    }

    /// Reads the configuration again, and logs the result.
    async fn reload_and_log(self) -> Result<ReloadReport, ReloadError> {
        let result = self.try_reload().await;
        match &result {
            Ok(report) => log_report(report),
            Err(ReloadError::Mistakes(mistakes)) => {
                for mistake in mistakes {
                    tracing::error!(%mistake, "the configuration has a mistake; nothing changed");
                }
            }
            Err(error @ ReloadError::Unavailable(_)) => {
                tracing::error!(%error, "the configuration was not taken up");
            }
        }
        result
    }

    async fn try_reload(&self) -> Result<ReloadReport, ReloadError> {
        let mut variables = self.variables.lock().await;
        let (source, parts) = (self.source.clone(), Arc::clone(&self.parts));
        let read = move || {
            let sources = source.sources();
            let settings = source.settings(&sources, &parts.apps);
            (sources, settings)
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (sources, settings) =
            read.map_err(|error| ReloadError::Mistakes(vec![error.to_string()]))?;
        let mut settings = settings.map_err(|errors| {
            let texts = errors
                .iter()
                .map(|error| format!("{}: {}", error.name, error.problem));
            ReloadError::Mistakes(texts.collect())
        })?;
        self.complete(&mut settings).await?;
        let streams = std::mem::take(&mut settings.streams);
        let mut plan = ReloadPlan::new(&self.parts.catalog, streams);
        self.compare_settings(&mut plan.report, &variables, &sources, &settings);
        if plan.has_changes() {
            self.replace_streams(&mut plan, &mut variables, &settings)
                .await?;
        }
        self.apply_settings(&settings).await;
        variables.last = sources;
        Ok(plan.report)
    }

    /// Completes the streams that leave a part of their definition to their query.
    async fn complete(&self, settings: &mut Settings) -> Result<(), ReloadError> {
        if !settings.streams.iter().any(|s| s.inference.is_needed()) {
            return Ok(());
        }
        let database = &self.parts.database;
        self.parts.engine.wake_database();
        let recorded = database.recorded_streams().await;
        let recorded = recorded.map_err(|error| ReloadError::Unavailable(error.to_string()))?;
        let access = InferenceAccess::ParseOnly;
        complete_all(database, &mut settings.streams, &recorded, access).await;
        Ok(())
    }

    /// Examines the new streams and serves those of the plan.
    async fn replace_streams(
        &self,
        plan: &mut ReloadPlan,
        variables: &mut MutexGuard<'_, AppliedVariables>,
        settings: &Settings,
    ) -> Result<(), ReloadError> {
        let mut new = std::mem::take(&mut plan.new);
        for stream in &mut new {
            variables.revision += 1;
            stream.revision = variables.revision;
        }
        let database = &self.parts.database;
        if !new.is_empty() {
            self.parts.engine.wake_database();
        }
        let is_optional = settings.builtin_is_optional;
        let statuses = match examine_all(database, &new, is_optional).await {
            Ok(statuses) => statuses,
            Err(error) => {
                new.iter()
                    .for_each(|stream| database.forget_prepared(stream));
                return Err(error);
            }
        };
        self.list(plan, new.into_iter().map(Arc::new).zip(statuses).collect())
    }

    /// Makes the new streams known to all parts, then lists them in place of the old ones. Does not
    /// wait, so that a reload is never half done.
    fn list(
        &self,
        plan: &ReloadPlan,
        new: Vec<(Arc<Stream>, StreamStatus)>,
    ) -> Result<(), ReloadError> {
        let ReloadParts {
            database,
            catalog,
            engine,
            watch_locks,
            hub,
            ..
        } = &*self.parts;
        let has_new = !new.is_empty();
        let ids = catalog.append(new);
        let ids = ids.map_err(|error| ReloadError::Mistakes(vec![error.to_string()]))?;
        engine.add_streams(catalog);
        watch_locks.add_streams(catalog);
        let listed = plan.listed(ids);
        self.set_claims(&listed);
        if has_new {
            // The trigger monitor finds out whether the triggers of the new streams are installed.
            engine.set_triggers_complete(false);
        }
        hub.replace_streams(listed);
        engine.forget_removed_streams(catalog);
        let all = catalog.all_from(0);
        for (_, stream) in all.filter(|(id, _)| catalog.is_retired(*id)) {
            database.forget_prepared(stream);
        }
        Ok(())
    }

    /// Lets tokens grant the keys of the streams.
    fn set_claims(&self, listed: &[StreamId]) {
        let catalog = &self.parts.catalog;
        let streams = || listed.iter().map(|id| catalog.get(*id));
        let fields: Vec<_> = streams()
            .flat_map(|s| s.key_fields.iter().cloned())
            .collect();
        let keeps_claims = streams().any(|stream| stream.takes_claims());
        self.parts.verifier.set_stream_claims(&fields, keeps_claims);
    }

    async fn apply_settings(&self, settings: &Settings) {
        let parts = &self.parts;
        let is_optional = settings.builtin_is_optional;
        parts
            .builtin_is_optional
            .store(is_optional, Ordering::Relaxed);
        parts.limits.set(settings.limits);
        parts.shards.set_limits(settings.limits).await;
        let param_sets = settings.limits.param_sets_per_key;
        parts.hub.set_param_sets_per_key(param_sets);
    }

    /// Adds to the report which settings have other values.
    fn compare_settings(
        &self,
        report: &mut ReloadReport,
        applied: &AppliedVariables,
        sources: &ConfigSources,
        settings: &Settings,
    ) {
        let all = all_variables();
        let is_limit = |name: &str| {
            let limits = latido_session::VARIABLES;
            limits.iter().any(|variable| variable.name == name)
        };
        let changed = applied.last.changed(sources, &all).into_iter();
        report.limits = changed
            .filter(|name| is_limit(name))
            .map(str::to_owned)
            .collect();
        let changed = applied.at_start.changed(sources, &all).into_iter();
        let counts_later = |name: &&str| !is_limit(name) && !STREAM_VARIABLES.contains(name);
        report.needs_restart = changed.filter(counts_later).map(str::to_owned).collect();
        let fields = self.parts.fixed_fields.changed(&settings.fixed_fields());
        report.needs_restart.extend(fields.map(str::to_owned));
        report.warnings.clone_from(&settings.warnings);
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl Reload for Reloader {
    fn reload(&self) -> ReloadFuture<'_> {
        // A task of its own: an operator who does not wait for the answer interrupts nothing.
        let (sender, result) = oneshot::channel();
        let reload = self.clone().reload_and_log();
        let send = async move {
            // The receiver is gone if the operator is.
            let _ = sender.send(reload.await);
        };
        self.parts.drain.spawn_until_stop(send);
        Box::pin(async move {
            let stopped = || Err(ReloadError::Unavailable("the server stops".to_owned()));
            result.await.unwrap_or_else(|_| stopped())
        })
    }
}

fn log_report(report: &ReloadReport) {
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    let needs_restart = report.needs_restart.join(", ");
    if !needs_restart.is_empty() {
        tracing::warn!(settings = %needs_restart, "these settings changed; restart the server to apply them");
    }
    tracing::info!(
        added = %report.added.join(", "),
        changed = %report.changed.join(", "),
        removed = %report.removed.join(", "),
        unchanged = report.unchanged.len(),
        limits = %report.limits.join(", "),
        "the configuration was read again"
    );
}
