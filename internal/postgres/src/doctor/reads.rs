//! Compares what a stream's query reads with the tables that the stream lists.

use std::borrow::Cow;

use crate::doctor::finding::Finding;
use crate::doctor::stream::subject;
use crate::pool::Database;
use crate::query_reads::QueryReadsError;
use crate::read_gap::{ReadTable, read_gaps};
use crate::triggers::recorded_reads::{defining_query, watched_tables, without_unusable};
use latido_inference::{Note, QueryReads, Refusal};
use latido_stream::Stream;

/// Returns the findings about what the query reads. A query that cannot be prepared has a finding
/// already.
pub(super) async fn examine(database: &Database, stream: &Stream) -> Vec<Finding> {
    let subject = subject(stream, "reads");
    let reads = match database.query_reads(defining_query(stream)).await {
        Ok(reads) => reads,
        Err(error) => return vec![unknown_reads(subject, &error)],
    };
    match watched_tables(database, stream).await {
        Ok(watched) => {
            let is_hidden = reads.hidden_functions().next().is_some();
            let tables = match without_unusable(database, stream, ReadTable::all(&reads)).await {
                Ok(tables) => tables,
                Err(error) => return vec![Finding::failure(subject, error.to_string())],
            };
            // Tables that the tree does not show are taken for those of hidden functions.
            let without = read_gaps(&tables, &watched, false).len();
            // An inferred stream is compared with what was installed instead.
            let gaps = match stream.inference.tables {
                true => Vec::new(),
                false => read_gaps(&tables, &watched, is_hidden),
            };
            let explains_hidden = without > gaps.len();
            let mut findings: Vec<_> = gaps
                .iter()
                .map(|gap| {
                    Finding::warning(&subject, gap.to_string()).remedy(gap.remedy(&stream.name))
                })
                .collect();
            let day = DayParameters::of_stream(stream, stream.key_fields.len());
            let notes = reads.notes.iter();
            findings.extend(
                notes.filter_map(|note| note_finding(&subject, note, explains_hidden, &day)),
            );
            if gaps.is_empty() && !stream.inference.tables {
                findings.insert(0, Finding::ok(subject, summary(&reads)));
            }
            findings
        }
        Err(error) => vec![Finding::failure(subject, error.to_string())],
    }
}

fn unknown_reads(subject: String, error: &QueryReadsError) -> Finding {
    match error {
        QueryReadsError::Refused(
            Refusal::Writes(_) | Refusal::Locks | Refusal::Temporary(_) | Refusal::NotAQuery,
        )
        | QueryReadsError::Database(_) => Finding::failure(subject, error.to_string()),
        QueryReadsError::Refused(_) | QueryReadsError::UnknownVersion { .. } => Finding::warning(
            subject,
            format!("not known, so the stream's tables were not compared: {error}"),
        ),
    }
}

/// Returns what the query reads, in one line.
fn summary(reads: &QueryReads) -> String {
    let tables: Vec<_> = reads
        .tables
        .iter()
        .map(|table| format!("{} ({})", table.name, table.columns))
        .collect();
    let tables = if tables.is_empty() {
        "no table".to_owned()
    } else {
        tables.join(", ")
    };
    let through: Vec<_> = reads
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::View(name) => Some(format!("through the view {name}")),
            Note::Function(name) => Some(format!("through the function {name}")),
            Note::Policy(name) => Some(format!("with the policies of {name}")),
            _ => None,
        })
        .collect();
    let joined: String = through.iter().map(|part| format!(", {part}")).collect();
    format!("as listed: {tables}{joined}")
}

/// Returns a finding about a note that is worth attention.
fn note_finding(
    subject: &str,
    note: &Note,
    explains_hidden: bool,
    day: &DayParameters,
) -> Option<Finding> {
    if explains_hidden && matches!(note, Note::Hidden(_)) {
        return None;
    }
    let remedy = note_remedy(note, day)?;
    Some(Finding::warning(subject, note.to_string()).remedy(remedy))
}

/// The parameters of a query that hold the local day of each key: today, and the next day if no
/// parameters of the stream stand behind it.
pub(crate) struct DayParameters {
    today: usize,
    has_next_day: bool,
}

impl DayParameters {
    /// Returns those of a stream with that number of key parts.
    pub(crate) fn of_stream(stream: &Stream, key_parts: usize) -> Self {
        Self {
            today: key_parts + 1,
            has_next_day: stream.params.is_empty(),
        }
    }

    fn names(&self) -> String {
        match self.has_next_day {
            true => format!("${} and ${}", self.today, self.today + 1),
            false => format!("${}", self.today),
        }
    }
}

/// Returns what to do about a note that is worth attention.
pub(crate) fn note_remedy(note: &Note, day: &DayParameters) -> Option<Cow<'static, str>> {
    let names = day.names();
    let remedy = match note {
        Note::Clock(_) | Note::ClockLiteral => {
            return Some(Cow::Owned(format!(
                "use the local day of each key, {names}, which the server reads again at midnight"
            )));
        }
        Note::TimestampWithDate => {
            let meaning = match day.has_next_day {
                true => "the bounds of the local day",
                false => "the begin of the local day",
            };
            return Some(Cow::Owned(format!(
                "declare {names} as the column is, timestamp[] or timestamptz[]: {meaning}"
            )));
        }
        Note::SessionZone(_) => {
            return Some(Cow::Owned(format!(
                "write AT TIME ZONE with the zone that is meant, or compare with {names} of the column's own type"
            )));
        }
        Note::View(_)
        | Note::Function(_)
        | Note::Extension(_)
        | Note::Children(_)
        | Note::Policy(_) => return None,
        Note::Hidden(_) => "list the tables that the function reads among the stream's tables",
        Note::Random => "leave it out of the query",
        Note::Session(_) => "use the key, or `authorize`, where viewers should differ",
        Note::MaterializedView(_)
        | Note::ForeignTable(_)
        | Note::Catalog(_)
        | Note::Sequence
        | Note::Outside(_) => "call the hook after a change, or rely on the sweep",
        Note::SystemColumn => {
            "leave out `columns`, so that every UPDATE that changes a column counts; the sweep finds the others"
        }
    };
    Some(Cow::Borrowed(remedy))
}
