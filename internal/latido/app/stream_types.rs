//! The command `latido types`, which describes the streams for programs that watch them.

use crate::app::stream_inference::{complete_all, drop_absent_builtin};
use crate::config::Settings;
use crate::typescript::{StreamTypes, typescript};
use latido_postgres::{Database, InferenceAccess};
use latido_stream::Stream;

/// Returns a TypeScript module with the types of all streams. Their columns are those that the
/// database describes now.
///
/// # Errors
/// Returns an error if the database is unavailable, or refuses the query of a stream.
pub async fn typescript_types(mut settings: Settings) -> anyhow::Result<String> {
    let database = Database::open(&settings.postgres)?;
    drop_absent_builtin(&database, &mut settings).await?;
    let recorded = database.recorded_streams().await?;
    let access = InferenceAccess::TemporaryFunctions;
    complete_all(&database, &mut settings.streams, &recorded, access).await;
    let mut problems = Vec::new();
    for stream in &settings.streams {
        if let Some(problem) = stream.inference.key_problem() {
            problems.push(format!("stream {}: {}", stream.name, problem.summary));
        } else if let Err(error) = database.probe_stream(stream).await {
            problems.push(error.to_string());
        }
    }
    anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
    let types: Vec<_> = settings
        .streams
        .iter()
        .map(|stream| stream_types(&database, stream))
        .collect();
    Ok(typescript(&types))
}

fn stream_types<'a>(database: &Database, stream: &'a Stream) -> StreamTypes<'a> {
    let types = stream.key_types.get().into_iter().flatten().cloned();
    let names = stream.key_fields.iter().map(String::as_str);
    StreamTypes {
        name: &stream.name,
        key: names.zip(types).collect(),
        params: &stream.params,
        columns: database.columns(stream).unwrap_or_default(),
        history: database.history_columns(stream),
    }
}
