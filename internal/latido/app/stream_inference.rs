//! Completes the streams that leave their keys or tables to their query, before a command uses them.

use std::time::Duration;

use latido_base::backoff::Jitter;
use latido_postgres::{
    Database, DatabaseError, InferenceAccess, InferredStream, InstallChange, RecordedStreams,
};
use latido_stream::{InferenceGap, Stream, StreamProblem};

use crate::config::{Settings, is_builtin, missing_part, stream_entry};

/// The pause between two attempts to reach the database, before jitter.
const UNREACHED_PAUSE: Duration = Duration::from_millis(500);

/// The reason for a stream that is off, for people.
pub(super) const OFF_REASON: &str = "off: the database has no table citas (builtin_streams = true \
     in latido.toml makes that an error)";

/// Removes the built-in stream if nobody demands it and the database lacks its tables. Returns
/// whether it did.
///
/// # Errors
/// Returns an error if the database fails.
pub(super) async fn drop_absent_builtin(
    database: &Database,
    settings: &mut Settings,
) -> Result<bool, DatabaseError> {
    let builtin = settings.streams.iter().position(is_builtin);
    let Some(index) = builtin.filter(|_| settings.builtin_is_optional) else {
        return Ok(false);
    };
    let is_absent = match settings.streams.get(index) {
        Some(stream) => database.lacks_tables(stream).await?,
        None => false,
    };
    if is_absent {
        settings.streams.remove(index);
    }
    Ok(is_absent)
}

/// Completes the streams for an installation, and removes those that it must refuse. Returns what
/// was inferred, and what was refused with the entries to choose from.
///
/// # Errors
/// Returns an error if the database is unavailable.
pub(super) async fn complete_for_installation(
    database: &Database,
    streams: &mut Vec<Stream>,
) -> Result<Vec<InstallChange>, DatabaseError> {
    let mut changes = Vec::new();
    for mut stream in std::mem::take(streams) {
        if !stream.inference.is_needed() {
            streams.push(stream);
            continue;
        }
        let access = InferenceAccess::TemporaryFunctions;
        match database.infer_stream(&stream, access).await {
            Ok(inferred) if inferred.is_complete() => {
                let name = &stream.name;
                let summary = inferred.summary();
                changes.push(InstallChange::Inferred(format!("stream {name}: {summary}")));
                let warnings = inferred.warnings.iter();
                let warning = |text| InstallChange::Warning(format!("stream {name}: {text}"));
                changes.extend(warnings.map(warning));
                inferred.complete(&mut stream);
                streams.push(stream);
            }
            Ok(inferred) => {
                let text = refusal_text(&stream, &inferred);
                changes.push(InstallChange::LeftOut(text));
            }
            Err(error @ DatabaseError::Unavailable { .. }) => return Err(error),
            Err(error) => changes.push(InstallChange::LeftOut(error.to_string())),
        }
    }
    Ok(changes)
}

/// Says why a stream's tables are not known, with the entries to choose from.
pub(super) fn refusal_text(stream: &Stream, inferred: &InferredStream) -> String {
    let name = &stream.name;
    let problems: Vec<_> = inferred.problems();
    let entry = match &stream.inference.file {
        Some(file) => stream_entry(stream, file, inferred),
        None => missing_part(stream, inferred),
    };
    let params = match inferred.possible_params.as_slice() {
        [] => String::new(),
        params => format!("\n{}.", undeclared_params(name, params)),
    };
    format!(
        "stream {name}: {}{params}\nNothing is chosen for you. In latido.toml:\n\n{}\n",
        problems.join("\n"),
        entry.trim_end()
    )
}

/// Says where parameters of a stream are declared: `latido install` finds none in a query.
pub(super) fn undeclared_params(stream: &str, names: &[String]) -> String {
    format!(
        "what a client may choose ({}) stands in latido.toml: without [streams.{stream}.params] \
        `latido install` takes these parameters for key parts, or for the bounds of the day",
        names.join(", ")
    )
}

/// Completes every stream as a server does: from the record of the installation, or else from the
/// query. What cannot be known is noted in the stream.
pub(super) async fn complete_all(
    database: &Database,
    streams: &mut [Stream],
    recorded: &RecordedStreams,
    access: InferenceAccess,
) {
    for stream in streams.iter_mut().filter(|s| s.inference.is_needed()) {
        if recorded.complete(stream) {
            continue;
        }
        match database.infer_stream(stream, access).await {
            Ok(inferred) => inferred.complete(stream),
            Err(error) => note_error(stream, &error),
        }
    }
}

fn note_error(stream: &mut Stream, error: &DatabaseError) {
    let StreamProblem { summary, detail } = error.stream_problem();
    stream.inference.gap = Some(match stream.inference.keys {
        true => InferenceGap::Keys(StreamProblem {
            summary: format!(
                "{summary}, so its keys are not known; reload the server when that is mended"
            ),
            detail,
        }),
        false => InferenceGap::Tables(StreamProblem {
            summary: format!("{summary}, so its tables are not known"),
            detail,
        }),
    });
}

/// Completes the streams of settings for a server. Waits for the database only if it alone knows the
/// keys of a stream: a server cannot resolve a channel without them.
///
/// # Errors
/// Returns an error if the settings of the database are unusable.
pub async fn complete_streams(mut settings: Settings) -> anyhow::Result<Settings> {
    if !settings.streams.iter().any(|s| s.inference.is_needed()) {
        return Ok(settings);
    }
    let database = Database::open(&settings.postgres)?;
    let needs_keys = settings.streams.iter().any(|stream| stream.inference.keys);
    let mut is_reported = false;
    let recorded = loop {
        match database.recorded_streams().await {
            Ok(recorded) => break recorded,
            Err(error) if needs_keys => {
                if !std::mem::replace(&mut is_reported, true) {
                    tracing::warn!(%error, "streams whose keys stand in their query alone can't be served yet; retrying");
                }
                let pause = Jitter::AROUND.apply(UNREACHED_PAUSE, fastrand::f64());
                tokio::time::sleep(pause).await;
            }
            Err(error) => {
                let unknown = settings.streams.iter_mut();
                for stream in unknown.filter(|stream| stream.inference.is_needed()) {
                    note_error(stream, &error);
                    report(stream);
                }
                return Ok(settings);
            }
        }
    };
    let access = InferenceAccess::ParseOnly;
    complete_all(&database, &mut settings.streams, &recorded, access).await;
    settings.streams.iter().for_each(report);
    let inferred = settings.streams.iter().filter(|s| s.inference.keys);
    let fields = inferred.flat_map(|stream| stream.key_fields.iter().cloned());
    settings.verifier.key_fields.extend(fields);
    Ok(settings)
}

fn report(stream: &Stream) {
    let name = &stream.name;
    match &stream.inference.gap {
        // The stream monitor logs it.
        None | Some(InferenceGap::Keys(_)) => {}
        Some(InferenceGap::Tables(problem)) => {
            tracing::warn!(stream = name, %problem, "the stream's tables are not known, so the hook and the sweep alone find its changes; `latido install` prints what to choose");
        }
    }
}
