//! The part of the record that tells what a query decided about its stream, so that a server needs
//! no right to create anything.

use serde::{Deserialize, Serialize};

use crate::stream_inference::complete_stream;
use latido_stream::{KeyRoute, SourceTable, Stream};

/// The keys and tables of a stream that left them to its query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedInference {
    pub(crate) keys: Vec<String>,
    /// The number of the stream's parameters, on which the number of key parts depends.
    params: usize,
    tables: Vec<RecordedTable>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RecordedTable {
    table: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    via: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
}

impl RecordedInference {
    /// Returns what to record of a complete stream, or `None` if it left nothing to its query.
    pub(super) fn of_stream(stream: &Stream) -> Option<Self> {
        stream.inference.is_needed().then(|| Self {
            keys: stream.key_fields.clone(),
            params: stream.params.len(),
            tables: stream.tables.iter().map(RecordedTable::new).collect(),
        })
    }

    pub(crate) fn source_tables(&self) -> Vec<SourceTable> {
        self.tables.iter().map(RecordedTable::source).collect()
    }

    /// Completes a stream with the same query. Returns `false` if its other settings do not fit.
    pub(super) fn complete(&self, stream: &mut Stream) -> bool {
        let has_other_keys = !stream.inference.keys && stream.key_fields.len() != self.keys.len();
        if self.params != stream.params.len() || has_other_keys {
            return false;
        }
        complete_stream(stream, self.keys.clone(), self.source_tables());
        true
    }
}

impl RecordedTable {
    fn new(table: &SourceTable) -> Self {
        let (key, via) = match &table.route {
            KeyRoute::Columns(columns) => (Some(columns.clone()), None),
            KeyRoute::Lookup(sql) => (None, Some(sql.clone())),
            KeyRoute::EveryKey => (None, None),
        };
        Self {
            table: table.name.clone(),
            key,
            via,
            columns: table.columns.clone(),
        }
    }

    fn source(&self) -> SourceTable {
        let route = match (&self.key, &self.via) {
            (Some(columns), _) => KeyRoute::Columns(columns.clone()),
            (None, Some(sql)) => KeyRoute::Lookup(sql.clone()),
            (None, None) => KeyRoute::EveryKey,
        };
        SourceTable {
            name: self.table.clone(),
            route,
            columns: self.columns.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use latido_stream::Inference;

    #[test]
    fn record_completes_the_stream_that_it_was_made_of() {
        let draft = || Stream {
            key_fields: Vec::new(),
            inference: Inference {
                keys: true,
                tables: true,
                ..Inference::default()
            },
            ..Stream::test_stream("ventas", None)
        };
        let routes = [
            KeyRoute::Columns(vec!["a".to_owned()]),
            KeyRoute::Lookup("SELECT 1".to_owned()),
            KeyRoute::EveryKey,
        ];
        let tables: Vec<_> = routes
            .map(|route| SourceTable {
                name: "t".to_owned(),
                route,
                columns: vec!["c".to_owned()],
            })
            .into();
        let mut installed = draft();
        complete_stream(&mut installed, vec!["k".to_owned()], tables.clone());
        let recorded = RecordedInference::of_stream(&installed).unwrap();
        let json = serde_json::to_string(&recorded).unwrap();
        let recorded: RecordedInference = serde_json::from_str(&json).unwrap();
        let mut served = draft();
        assert!(recorded.complete(&mut served));
        assert_eq!(
            (served.key_fields, served.tables),
            (vec!["k".to_owned()], tables)
        );
        let mut other = draft();
        other.inference.keys = false;
        assert!(!recorded.complete(&mut other), "another number of keys");
        let explicit = Stream::test_stream("ventas", None);
        assert_eq!(RecordedInference::of_stream(&explicit), None);
    }
}
