//! Shows what a stream leaves to its query, and what has changed since the last installation.

use crate::doctor::finding::Finding;
use crate::doctor::stream::subject;
use crate::pool::Database;
use crate::stream_inference::{InferenceAccess, differences};
use crate::triggers::RecordedStreams;
use latido_stream::Stream;

/// The remedy for every difference from the last installation.
const INSTALL: &str = "run `latido install`";

/// Returns the findings about what the query decides. A stream that names everything has none.
pub(super) async fn examine(
    database: &Database,
    stream: &Stream,
    recorded: &RecordedStreams,
) -> Vec<Finding> {
    if !stream.inference.is_needed() {
        return Vec::new();
    }
    let subject = subject(stream, "inferred");
    let inferred = database.infer_stream(stream, InferenceAccess::TemporaryFunctions);
    let inferred = match inferred.await {
        Ok(inferred) => inferred,
        Err(error) => return vec![Finding::failure(subject, error.to_string())],
    };
    if !inferred.is_complete() {
        let remedy =
            "list the tables in latido.toml; `latido install` prints the entries to choose from";
        let problems = inferred.problems().into_iter();
        return problems
            .map(|problem| Finding::failure(&subject, problem).remedy(remedy))
            .collect();
    }
    let mut findings = vec![Finding::ok(&subject, inferred.summary())];
    let Some((installed, is_same_query)) = recorded.find(stream) else {
        let detail = "no installation has recorded this, so the server asks again at each start";
        findings.push(Finding::warning(subject, detail).remedy(INSTALL));
        return findings;
    };
    let now = match stream.inference.tables {
        true => inferred.source_tables(),
        false => stream.tables.clone(),
    };
    let (keys, tables) = (&inferred.key_fields, installed.source_tables());
    let changes = differences(&stream.name, (&installed.keys, &tables), (keys, &now));
    if changes.is_empty() && !is_same_query {
        let detail = "the query has changed since `latido install`";
        findings.push(Finding::warning(&subject, detail).remedy(INSTALL));
    }
    let changes = changes.into_iter();
    findings.extend(changes.map(|change| Finding::warning(&subject, change).remedy(INSTALL)));
    findings
}
