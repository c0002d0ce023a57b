//! Examines a query before the page shows it. Every statement only reads.

use super::form::{FormProblem, StreamFacts, stream_of};
use super::rewrite;
use crate::app::stream_inference::undeclared_params;
use latido_postgres::sqlstate::{
    INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE, QUERY_CANCELED, READ_ONLY_TRANSACTION,
};
use latido_postgres::{
    Database, DatabaseError, QueryForm, QueryFormError, QueryPreview, QueryReadsError, RowCount,
};
use latido_stream::Stream;
use latido_stream::statement_text::single_statement;

/// A query that can be shown.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) stream: Stream,
    pub(super) form: QueryForm,
    pub(super) preview: QueryPreview,
    /// Some keys, as a channel's name writes them.
    pub(super) examples: Vec<String>,
}

/// The reason why a query cannot be shown, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct QueryProblem {
    pub(super) message: String,
    /// True if the same text may work later.
    pub(super) is_temporary: bool,
}

impl QueryProblem {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_temporary: false,
        }
    }

    fn of_form(error: &QueryFormError, text: &str) -> Self {
        match error {
            QueryFormError::Mistake(mistake) => Self {
                message: mistake.explain(text),
                is_temporary: is_passing(&mistake.sqlstate),
            },
            QueryFormError::Database(error) => Self::of_database(error, &QueryPreview::default()),
            _ => Self::new(error.to_string()),
        }
    }

    fn of_database(error: &DatabaseError, preview: &QueryPreview) -> Self {
        let mut message = read_failure(error);
        if error.sqlstate() == Some(INSUFFICIENT_PRIVILEGE) {
            for unseen in &preview.unseen {
                message.push_str(&format!("\n{unseen}"));
            }
        }
        let is_unavailable = matches!(error, DatabaseError::Unavailable { .. });
        Self {
            message,
            is_temporary: is_unavailable || error.sqlstate().is_some_and(is_passing),
        }
    }
}

/// Returns whether the same statement may succeed later: a table was locked, or the server busy.
fn is_passing(sqlstate: &str) -> bool {
    [QUERY_CANCELED, LOCK_NOT_AVAILABLE].contains(&sqlstate)
}

/// Returns the reason for a failed read, in words for a person.
pub(super) fn read_failure(error: &DatabaseError) -> String {
    match error.sqlstate() {
        Some(QUERY_CANCELED) => format!(
            "{error}: it took longer than STATEMENT_TIMEOUT_SECONDS; an index may help, or a longer time"
        ),
        Some(READ_ONLY_TRANSACTION) => format!("{error}: `latido try` never writes"),
        _ => error.to_string(),
    }
}

/// Examines the text of a query.
///
/// # Errors
/// Returns an error if the query cannot be shown.
pub(super) async fn examine(
    database: &Database,
    text: &str,
    facts: &StreamFacts<'_>,
) -> Result<Examined, QueryProblem> {
    let form = database.query_form(text).await;
    let form = form.map_err(|error| QueryProblem::of_form(&error, text))?;
    let mut preview = preview(database, text).await?;
    let stream = match stream_of(text, &form, facts) {
        Ok(stream) => stream,
        Err(problem) => return Err(explain_form(database, text, &form, facts, &problem).await),
    };
    let failed = |error: DatabaseError| QueryProblem::of_database(&error, &preview);
    if form.parameters.is_empty() {
        let sql = single_statement(text).unwrap_or(text);
        let count = database.row_count(sql, &form.columns[0].name).await;
        let count = count.map_err(failed)?;
        if count != RowCount::AtMostOne {
            return Err(several_rows(database, text, &form, facts, count).await);
        }
    }
    database.probe_stream(&stream).await.map_err(failed)?;
    let examples = database.example_keys(&stream, &preview.tables).await;
    let params: Vec<_> = stream.params.iter().map(|p| p.name.clone()).collect();
    if !params.is_empty() {
        let note = undeclared_params(&stream.name, &params);
        preview.notes.push(note);
    }
    preview.notes.extend(bounds_of_day(&stream, &form));
    Ok(Examined {
        stream,
        form,
        preview,
        examples,
    })
}

/// Says that two dates are the bounds of today if the query takes them, because they look like what a
/// client may choose.
fn bounds_of_day(stream: &Stream, form: &QueryForm) -> Option<String> {
    let key_parts = stream.key_fields.len();
    let days = form.parameters.len() - key_parts - stream.params.len();
    (days == 2).then(|| {
        let (first, second) = (key_parts + 1, key_parts + 2);
        format!(
            "${first} and ${second} hold today and the next day. What a client may choose stands \
            behind them, and the query returns it behind the key"
        )
    })
}

/// Returns what the query reads. If that cannot be known, the preview says so.
async fn preview(database: &Database, text: &str) -> Result<QueryPreview, QueryProblem> {
    let error = match database.query_preview(text).await {
        Ok(preview) => return Ok(preview),
        Err(error) => error,
    };
    match &error {
        QueryReadsError::Database(error) => {
            Err(QueryProblem::of_database(error, &QueryPreview::default()))
        }
        QueryReadsError::Refused(refusal) if refusal.label() != "unreadable" => {
            Err(QueryProblem::new(error.to_string()))
        }
        QueryReadsError::Refused(_) | QueryReadsError::UnknownVersion { .. } => Ok(QueryPreview {
            unseen: vec![format!("the tables that the query reads: {error}")],
            ..QueryPreview::default()
        }),
    }
}

/// Says what to write instead of a query with other parameters.
async fn explain_form(
    database: &Database,
    text: &str,
    form: &QueryForm,
    facts: &StreamFacts<'_>,
    problem: &FormProblem,
) -> QueryProblem {
    let mut message = problem.to_string();
    if matches!(problem, FormProblem::Scalar { .. }) {
        let example = rewrite::with_array_parameters(text, form);
        message.push_str(&checked_example(database, example, facts).await);
    }
    QueryProblem::new(message)
}

/// Says what to write instead of a query that returns several rows.
async fn several_rows(
    database: &Database,
    text: &str,
    form: &QueryForm,
    facts: &StreamFacts<'_>,
    count: RowCount,
) -> QueryProblem {
    let mut message =
        "the query has no parameters and returns several rows; expected one row in all, \
        or one for each key, with the keys in $1"
            .to_owned();
    let example = (count == RowCount::DistinctFirstColumn)
        .then(|| rewrite::with_row_per_key(text, form))
        .flatten();
    message.push_str(&checked_example(database, example, facts).await);
    QueryProblem::new(message)
}

/// Returns the text of an example that the server accepts, or a pointer to the guide.
async fn checked_example(
    database: &Database,
    example: Option<String>,
    facts: &StreamFacts<'_>,
) -> String {
    if let Some(example) = example
        && let Ok(form) = database.query_form(&example).await
        && stream_of(&example, &form, facts).is_ok()
    {
        return format!("\nFor example:\n\n{example}\n");
    }
    "; docs/streams.md shows the form".to_owned()
}
