//! Asks the database what a stream's query decides.

use latido_inference::{
    Lookup, LookupAnswer, NotProven, Note, QueryReads, Refusal, Suggestion, SuggestionOrigin,
    TableLookups,
};

use crate::doctor::{DayParameters, note_remedy};
use crate::error::DatabaseError;
use crate::pool::Database;
use crate::prepare::describe_statement;
use crate::query_form::QueryForm;
use crate::query_reads::QueryReadsError;
use crate::quote::quote_qualified;
use crate::read_gap::ReadTable;
use crate::stream_inference::inferred_stream::{
    InferredStream, InferredTable, KeySuggestion, UnprovenTable,
};
use crate::stream_inference::key_parts::infer_key_parts;
use crate::table_lookup::find_table_oid;
use crate::triggers::recorded_reads::defining_query;
use latido_stream::{KeyRoute, SourceTable, Stream};

/// What the examination of a query may do in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InferenceAccess {
    /// It may create functions, in a transaction that is rolled back. Where it cannot, it goes on as
    /// with the other.
    TemporaryFunctions,
    /// It only parses the query. The tree of the query then appears in the server's log.
    ParseOnly,
}

impl Database {
    /// Returns what the query of a stream decides: the names of the key parts, unless they are
    /// configured, and the tables with the way from their rows to the keys, unless they are.
    ///
    /// A table without a proven way, and a query that hides what it reads, are no errors: they stand
    /// in the result.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] if a later attempt may succeed, and other errors if PostgreSQL
    /// refuses the query or the key parts cannot be counted.
    pub async fn infer_stream(
        &self,
        stream: &Stream,
        access: InferenceAccess,
    ) -> Result<InferredStream, DatabaseError> {
        let mut warnings = Vec::new();
        let (key_fields, possible_params) = if stream.inference.keys {
            let private = self.open_dedicated().await?;
            let what = format!("the query of stream {}", stream.name);
            let shape = describe_statement(self, &private, &what, &stream.query).await?;
            let names = infer_key_parts(&shape, stream)?;
            let form = QueryForm::of_shape(&shape);
            warnings.extend(form.doubtful_day(&names));
            let possible_params = match stream.params.is_empty() {
                true => form.possible_params(&names),
                false => Vec::new(),
            };
            (names, possible_params)
        } else {
            (stream.key_fields.clone(), Vec::new())
        };
        let mut inferred = InferredStream {
            key_fields,
            possible_params,
            tables: Vec::new(),
            unproven: Vec::new(),
            refusals: Vec::new(),
            warnings,
        };
        if !stream.inference.tables {
            return Ok(inferred);
        }
        let (query, parts) = (defining_query(stream), inferred.key_fields.len());
        match self.query_lookups_with(query, parts, access).await {
            Ok(reads) => {
                let day = DayParameters::of_stream(stream, parts);
                self.add_tables(&mut inferred, &reads, &day).await?;
            }
            Err(QueryReadsError::Database(error)) => return Err(error),
            Err(error) => inferred.refusals.push(refusal_text(&error)),
        }
        Ok(inferred)
    }

    async fn add_tables(
        &self,
        inferred: &mut InferredStream,
        reads: &QueryReads,
        day: &DayParameters,
    ) -> Result<(), DatabaseError> {
        if let Some(problem) = reads.keys.as_ref().and_then(|keys| keys.key.as_ref().err())
            && problem.mixes_keys()
        {
            inferred.refusals.push(problem.to_string());
        }
        for note in &reads.notes {
            add_note(inferred, note, day);
        }
        let lookups = reads.keys.iter().flat_map(|keys| &keys.tables);
        for (table, lookups) in reads.tables.iter().zip(lookups) {
            if !matches!(table.kind.as_str(), "r" | "p") {
                continue;
            }
            let read = ReadTable::from_reads(table);
            let columns = read.columns.iter().flatten().cloned().collect();
            let name = self.configured_name(&read, table.oid).await?;
            add_table(inferred, name, columns, lookups);
        }
        Ok(())
    }

    /// Returns the table's name in the form of the configuration: without its schema if that means
    /// the same table.
    async fn configured_name(&self, read: &ReadTable, oid: u32) -> Result<String, DatabaseError> {
        let entry = SourceTable {
            name: read.name(),
            route: KeyRoute::EveryKey,
            columns: Vec::new(),
        };
        if find_table_oid(self, &entry).await? == Some(oid) {
            return Ok(entry.name);
        }
        Ok(quote_qualified(&read.schema, &read.table))
    }
}

fn add_table(
    inferred: &mut InferredStream,
    name: String,
    columns: Vec<String>,
    lookups: &TableLookups,
) {
    let found = match &lookups.answer {
        // Every row of every table concerns the only key.
        LookupAnswer::EveryKey => Ok((vec![KeyRoute::Columns(Vec::new())], vec![String::new()])),
        LookupAnswer::Proven(lookups) => {
            let paths = lookups.iter().map(ToString::to_string).collect();
            Ok((lookups.iter().map(route).collect(), paths))
        }
        LookupAnswer::NotProven(missing) => Err(missing),
    };
    match found {
        Ok((routes, paths)) => inferred.tables.push(InferredTable {
            name,
            columns,
            routes,
            paths,
        }),
        Err(NotProven {
            reason,
            suggestions,
        }) => inferred.unproven.push(UnprovenTable {
            name,
            columns,
            reason: reason.to_string(),
            suggestions: suggestions.iter().map(suggestion).collect(),
        }),
    }
}

fn route(lookup: &Lookup) -> KeyRoute {
    match lookup {
        Lookup::Columns(columns) => KeyRoute::Columns(columns.clone()),
        Lookup::Select { sql, .. } => KeyRoute::Lookup(sql.clone()),
    }
}

fn suggestion(suggestion: &Suggestion) -> KeySuggestion {
    KeySuggestion {
        routes: suggestion.lookups.iter().map(route).collect(),
        origin: match suggestion.origin {
            SuggestionOrigin::Query => "the equalities of the query",
            SuggestionOrigin::ColumnNames => "columns of these names",
            SuggestionOrigin::ForeignKeys => "the foreign keys",
        },
    }
}

/// Adds a note that is worth attention. What hides reads, or differs at every read, is refused.
fn add_note(inferred: &mut InferredStream, note: &Note, day: &DayParameters) {
    let Some(remedy) = note_remedy(note, day) else {
        return;
    };
    let text = format!("{note}; {remedy}");
    match note {
        Note::Hidden(_) | Note::Random => inferred.refusals.push(text),
        _ => inferred.warnings.push(text),
    }
}

fn refusal_text(error: &QueryReadsError) -> String {
    let is_known = !matches!(
        error,
        QueryReadsError::UnknownVersion { .. }
            | QueryReadsError::Refused(Refusal::Unreadable(_) | Refusal::Other { .. })
    );
    match is_known {
        true => error.to_string(),
        false => format!("{error}; list the tables in latido.toml"),
    }
}
