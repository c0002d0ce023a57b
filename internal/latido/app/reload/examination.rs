//! The examination of new streams by the database, before they are served.

use futures_util::future::join_all;

use crate::app::stream_monitor::is_off;
use latido_admin::ReloadError;
use latido_postgres::{Database, DatabaseError};
use latido_stream::{Stream, StreamStatus};

/// Examines streams, and returns the state of each. Other than at the start of a server, a stream
/// that the database refuses is a mistake: what is served now works.
///
/// # Errors
/// Returns an error if the database does not answer, or all reasons for which it refuses streams.
pub(super) async fn examine_all(
    database: &Database,
    streams: &[Stream],
    builtin_is_optional: bool,
) -> Result<Vec<StreamStatus>, ReloadError> {
    let examine = |stream| examine(database, stream, builtin_is_optional);
    let results = join_all(streams.iter().map(examine)).await;
    let (mut statuses, mut mistakes) = (Vec::new(), Vec::new());
    for (stream, result) in streams.iter().zip(results) {
        match result {
            Ok(status) => statuses.push(status),
            Err(Refusal::Unavailable(error)) => {
                return Err(ReloadError::Unavailable(error.to_string()));
            }
            Err(Refusal::Mistakes(texts)) => {
                let name = &stream.name;
                mistakes.extend(texts.iter().map(|text| format!("stream {name}: {text}")));
            }
        }
    }
    match mistakes.is_empty() {
        true => Ok(statuses),
        false => Err(ReloadError::Mistakes(mistakes)),
    }
}

enum Refusal {
    Unavailable(DatabaseError),
    Mistakes(Vec<String>),
}

async fn examine(
    database: &Database,
    stream: &Stream,
    builtin_is_optional: bool,
) -> Result<StreamStatus, Refusal> {
    if let Some(problem) = stream.inference.key_problem() {
        return Err(Refusal::Mistakes(vec![problem.to_string()]));
    }
    let status = StreamStatus::default();
    match database.probe_stream(stream).await {
        Ok(()) => {}
        Err(error @ DatabaseError::Unavailable { .. }) => return Err(Refusal::Unavailable(error)),
        Err(error) if builtin_is_optional && is_off(stream, &error) => {
            status.set_off(error.stream_problem());
            return Ok(status);
        }
        Err(error) => return Err(Refusal::Mistakes(vec![error.to_string()])),
    }
    let authorize_problem = match database.probe_permissions(stream).await {
        Err(error @ DatabaseError::Unavailable { .. }) => return Err(Refusal::Unavailable(error)),
        result => result.err().filter(DatabaseError::is_refused_authorize),
    };
    let problems = [database.history_problem(stream), authorize_problem];
    let problems: Vec<_> = problems.into_iter().flatten().collect();
    if !problems.is_empty() {
        let texts = problems.iter().map(ToString::to_string);
        return Err(Refusal::Mistakes(texts.collect()));
    }
    status.set_working();
    Ok(status)
}
