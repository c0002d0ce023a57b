//! The findings of the check that tries to refute the keys of a stream's tables.

use crate::doctor::finding::Finding;
use crate::doctor::stream::subject;
use crate::pool::Database;
use crate::shadow::ShadowReport;
use latido_stream::Stream;

/// Changes copies of a stream's tables, and returns a finding for each table whose keys can be missed.
pub(super) async fn examine(database: &Database, stream: &Stream) -> Vec<Finding> {
    match database.shadow_check(stream).await {
        Ok(reports) => reports
            .iter()
            .map(|report| table_finding(stream, report))
            .collect(),
        Err(error) => vec![
            Finding::warning(
                subject(stream, "keys of changes"),
                format!("not tested: {error}"),
            )
            .remedy(
                "run it as a role that may create temporary tables and read the stream's tables",
            ),
        ],
    }
}

fn table_finding(stream: &Stream, report: &ShadowReport) -> Finding {
    let ShadowReport {
        table,
        tried,
        altered,
        missed,
    } = report;
    let of = subject(stream, &format!("keys of changes of {table}"));
    match missed {
        Some(missed) => {
            let detail = format!(
                "{} altered the row of key {}, which the entry of this table does not find",
                missed.change,
                missed.key.join("/")
            );
            let remedy = "correct `key` or `via`, add another entry of the table, or leave both out: then any change concerns every key";
            Finding::failure(of, detail).remedy(remedy)
        }
        None if *altered == 0 => Finding::warning(
            of,
            format!("not tested: none of {tried} changes of its rows altered a row of the stream"),
        )
        .remedy("run it on a database with more rows"),
        None => Finding::ok(
            of,
            format!(
                "{altered} of {tried} changes of copied rows altered a row of the stream; all keys were found"
            ),
        ),
    }
}
