//! The findings of the check that tries to refute the keys of a stream's tables.

use crate::doctor::finding::Finding;
use crate::doctor::stream::subject;
use crate::error::DatabaseError;
use crate::pool::Database;
use crate::shadow::ShadowReport;
use crate::sqlstate::{INSUFFICIENT_PRIVILEGE, READ_ONLY_TRANSACTION};
use latido_stream::Stream;

/// Changes copies of a stream's tables, and returns a finding for each table whose keys can be missed.
pub(super) async fn examine(database: &Database, stream: &Stream) -> Vec<Finding> {
    match database.shadow_check(stream).await {
        Ok(reports) => reports
            .iter()
            .map(|report| table_finding(stream, report))
            .collect(),
        Err(error) => {
            let of = subject(stream, "keys of changes");
            let finding = Finding::warning(of, format!("not tested: {error}"));
            vec![finding.remedy(remedy_of(&error))]
        }
    }
}

/// Returns what to do about an error that kept the copies from being made.
fn remedy_of(error: &DatabaseError) -> &'static str {
    match (error, error.sqlstate()) {
        (DatabaseError::Unavailable { .. }, _) => "run it again",
        (DatabaseError::KeyMismatch(_), _) => "correct that first",
        (_, Some(INSUFFICIENT_PRIVILEGE | READ_ONLY_TRANSACTION)) => {
            "run it as a role that may create temporary tables and read the stream's tables, on a primary"
        }
        _ => {
            "this check cannot test it; `latido doctor --server URL` tells whether a running server found changes that nothing announced"
        }
    }
}

fn table_finding(stream: &Stream, report: &ShadowReport) -> Finding {
    let ShadowReport {
        table,
        tried,
        altered,
        missed,
        ..
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
        None if *altered == 0 => untested(of, report),
        None => Finding::ok(
            of,
            format!(
                "{altered} of {tried} changes of copied rows altered a row of the stream; all keys were found"
            ),
        ),
    }
}

/// Returns a warning that no change of a table altered a row of the stream, with the reason.
fn untested(of: String, report: &ShadowReport) -> Finding {
    let ShadowReport {
        copied,
        tried,
        impossible,
        ..
    } = report;
    let (reason, remedy) = match (copied, tried, impossible) {
        (0, _, _) => (
            "the table has no row".to_owned(),
            "run it on a database with rows",
        ),
        (_, 0, 0) => (
            "the time was over before one of its rows was changed".to_owned(),
            "run it on a database with fewer rows, or let indexes make the query faster",
        ),
        (_, 0, _) => (
            format!(
                "each of {impossible} changes of its rows broke a constraint, or the query failed or took more than 1 s after it"
            ),
            "run it on a database with fewer rows, or let indexes make the query faster",
        ),
        _ => (
            format!("none of {tried} changes of its rows altered a row of the stream"),
            "run it on a database with more rows of each key",
        ),
    };
    Finding::warning(of, format!("not tested: {reason}")).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_fits_the_error() {
        let rejected = |sqlstate: &str| DatabaseError::Rejected {
            what: "the check".to_owned(),
            sqlstate: sqlstate.to_owned(),
            message: "no".to_owned(),
        };
        let twice = DatabaseError::unfit("the check", "different names", "two tables named t");
        for (error, expected) in [
            (rejected(INSUFFICIENT_PRIVILEGE), "run it as a role"),
            (rejected(READ_ONLY_TRANSACTION), "on a primary"),
            (rejected("42883"), "latido doctor --server"),
            (twice, "latido doctor --server"),
            (DatabaseError::unavailable("away"), "run it again"),
        ] {
            let remedy = remedy_of(&error);
            assert!(remedy.contains(expected), "{error}: {remedy}");
        }
    }

    #[test]
    fn reason_of_an_untested_table_is_the_true_one() {
        for (copied, tried, impossible, expected) in [
            (0, 0, 0, "no row"),
            (3_503, 0, 0, "the time was over"),
            (3_503, 0, 20, "each of 20 changes"),
            (3_503, 7, 2, "none of 7 changes"),
        ] {
            let report = ShadowReport {
                table: "Track".to_owned(),
                copied,
                tried,
                impossible,
                altered: 0,
                missed: None,
            };
            let found = untested("x".to_owned(), &report);
            assert!(found.detail.contains(expected), "{found:?}");
        }
    }
}
