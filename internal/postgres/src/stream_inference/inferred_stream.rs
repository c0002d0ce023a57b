//! What a query decides about its stream.

use latido_stream::{InferenceGap, KeyRoute, SourceTable, Stream, StreamProblem};

/// What a query decides about its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferredStream {
    /// The names of the key parts.
    pub key_fields: Vec<String>,
    /// Those of the inferred key parts that may be what a client chooses beside the key, which only
    /// the configuration can tell.
    pub possible_params: Vec<String>,
    /// The tables whose way to the keys is proven, by name. A stream whose tables are configured has
    /// none here.
    pub tables: Vec<InferredTable>,
    /// The tables whose way to the keys a person has to choose.
    pub unproven: Vec<UnprovenTable>,
    /// What else keeps the tables from being known, with what to do about it.
    pub refusals: Vec<String>,
    /// What no trigger sees, with what to do about it.
    pub warnings: Vec<String>,
}

/// A table with a proven way from its rows to the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferredTable {
    /// The table's name, as in the configuration.
    pub name: String,
    /// The columns that matter. If the list is empty, every column does.
    pub columns: Vec<String>,
    /// The ways to the keys. Each is an entry of its own.
    pub routes: Vec<KeyRoute>,
    /// The same for people: the columns that each way passes.
    pub paths: Vec<String>,
}

/// A table without a proven way to the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnprovenTable {
    /// The table's name, as in the configuration.
    pub name: String,
    /// The columns that the query reads. If the list is empty, every column matters.
    pub columns: Vec<String>,
    /// The reason, with what to do about it.
    pub reason: String,
    /// Ways that may be right.
    pub suggestions: Vec<KeySuggestion>,
}

/// A way to the keys that may be right, and that nothing chooses by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySuggestion {
    /// The ways. Each is an entry of its own.
    pub routes: Vec<KeyRoute>,
    /// The source of the suggestion, for people.
    pub origin: &'static str,
}

impl InferredTable {
    /// Returns the entries of the table. One with a route by columns lists these columns too.
    pub fn entries(&self) -> impl Iterator<Item = SourceTable> {
        let entry = |route: &KeyRoute| entry(&self.name, &self.columns, route);
        self.routes.iter().map(entry)
    }
}

/// Returns an entry of a table. If it lists columns, those that hold the key are among them.
pub(super) fn entry(name: &str, columns: &[String], route: &KeyRoute) -> SourceTable {
    let mut columns = columns.to_vec();
    if let KeyRoute::Columns(keys) = route
        && !columns.is_empty()
    {
        columns.extend(keys.iter().cloned());
        columns.sort();
        columns.dedup();
    }
    SourceTable {
        name: name.to_owned(),
        route: route.clone(),
        columns,
    }
}

impl InferredStream {
    /// Returns whether the tables are known completely.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unproven.is_empty() && self.refusals.is_empty()
    }

    /// Returns the entries of all tables whose way to the keys is proven.
    #[must_use]
    pub fn source_tables(&self) -> Vec<SourceTable> {
        self.tables
            .iter()
            .flat_map(InferredTable::entries)
            .collect()
    }

    /// Returns why the tables are not known, one reason a line.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let unproven = self.unproven.iter().map(|table| {
            let UnprovenTable { name, reason, .. } = table;
            format!("the keys of the rows of {name} are not known: {reason}")
        });
        self.refusals.iter().cloned().chain(unproven).collect()
    }

    /// Describes the keys and the tables in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let keys = match self.key_fields.as_slice() {
            [] => "no key".to_owned(),
            [one] => format!("key {one}"),
            several => format!("keys {}", several.join(", ")),
        };
        let tables = self.tables.iter().map(|table| {
            let columns = match table.columns.is_empty() {
                true => "*".to_owned(),
                false => table.columns.join(", "),
            };
            let paths: Vec<_> = table.paths.iter().filter(|path| !path.is_empty()).collect();
            let way: Vec<_> = paths.iter().map(|path| path.as_str()).collect();
            match way.is_empty() {
                true => format!("{} ({columns})", table.name),
                false => format!("{} ({columns}) by {}", table.name, way.join(" and ")),
            }
        });
        std::iter::once(keys)
            .chain(tables)
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Completes the stream. Tables that are not known completely are left out, so that the stream
    /// is read at the sweep, and never misses the half of its changes in silence.
    pub fn complete(self, stream: &mut Stream) {
        let gap = (!self.is_complete()).then(|| {
            let summary = "its tables are not known: the hook and the sweep alone find changes";
            InferenceGap::Tables(StreamProblem {
                summary: summary.to_owned(),
                detail: self.problems().join("; "),
            })
        });
        let tables = match gap {
            Some(_) => Vec::new(),
            None => self.source_tables(),
        };
        complete_stream(stream, self.key_fields, tables);
        stream.inference.gap = stream.inference.gap.take().or(gap);
    }
}

/// Fills in what the query decides. Configured parts stay.
pub(crate) fn complete_stream(stream: &mut Stream, keys: Vec<String>, tables: Vec<SourceTable>) {
    stream.inference.gap = None;
    if stream.inference.tables {
        stream.tables = tables;
    }
    if !stream.inference.keys {
        return;
    }
    for table in &mut stream.tables {
        match &table.route {
            // Every row of every table concerns the only key.
            KeyRoute::EveryKey if keys.is_empty() => table.route = KeyRoute::Columns(Vec::new()),
            KeyRoute::Columns(columns) if columns.len() != keys.len() => {
                let expected = keys.join(", ");
                let detail = format!(
                    "{} names {} key columns; expected one for each key part ({expected})",
                    table.name,
                    columns.len()
                );
                stream.inference.gap = Some(InferenceGap::Keys(StreamProblem {
                    summary: "a table names another number of key columns than the query"
                        .to_owned(),
                    detail,
                }));
            }
            KeyRoute::Columns(_) | KeyRoute::Lookup(_) | KeyRoute::EveryKey => {}
        }
    }
    stream.key_fields = keys;
}
