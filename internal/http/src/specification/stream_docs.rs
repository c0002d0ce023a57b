//! The properties of each stream that the documents describe.

use crate::config::Config;
use crate::state::ServerState;
use latido_base::ident::StreamId;
use latido_stream::{Catalog, Column, KeyType, Param, Stream, key_prefix};

/// One stream's properties, as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamDocs {
    pub(super) name: String,
    pub(super) event: String,
    /// The parts of the key, in order.
    pub(super) parts: Vec<PartDocs>,
    pub(super) params: Vec<Param>,
    pub(super) columns: Option<Vec<Column>>,
    /// True if the stream has a history.
    pub(super) has_history: bool,
    /// The data columns of the history, once the database has described them.
    pub(super) history_columns: Option<Vec<Column>>,
    /// The path segments behind `/notify/` that resolve to this stream.
    pub(super) hook_paths: Vec<String>,
}

/// The properties of one part of a stream's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartDocs {
    pub(super) field: String,
    /// The optional prefix of a part that is not text.
    pub(super) prefix: String,
    /// The type, once the database has described it.
    pub(super) key_type: Option<KeyType>,
    /// The name of its schema.
    pub(super) schema: String,
}

/// Collects the properties of every stream of the server.
pub(super) fn collect_streams(state: &ServerState) -> Vec<StreamDocs> {
    let ServerState {
        catalog,
        config,
        column_source: shapes,
        ..
    } = state;
    let describe = |(id, stream): (StreamId, &std::sync::Arc<Stream>)| StreamDocs {
        name: stream.name.clone(),
        event: stream.event.clone(),
        parts: describe_parts(stream),
        params: stream.params.clone(),
        columns: shapes.columns(stream),
        has_history: stream.history_query.is_some(),
        history_columns: shapes.history_columns(stream),
        hook_paths: hook_paths(config, catalog, id),
    };
    catalog.iter().map(describe).collect()
}

fn describe_parts(stream: &Stream) -> Vec<PartDocs> {
    let types = stream.key_types.get();
    let name = &stream.name;
    let describe = |(index, field): (usize, &String)| PartDocs {
        field: field.clone(),
        prefix: key_prefix(field).to_owned(),
        key_type: types.and_then(|types| types.get(index)).cloned(),
        schema: match stream.key_fields.len() {
            1 => format!("Key.{name}"),
            _ => format!("Key.{name}.{field}"),
        },
    };
    stream.key_fields.iter().enumerate().map(describe).collect()
}

/// Returns the hook paths of a stream, the extra names and its own, with the hook's precedence: an
/// extra name wins.
fn hook_paths(config: &Config, catalog: &Catalog, id: StreamId) -> Vec<String> {
    let resolve = |path: &str| {
        let extra = config
            .hook_paths
            .iter()
            .filter(|hook| hook.path == path)
            .find_map(|hook| catalog.find(&hook.stream));
        extra.or_else(|| catalog.find(path))
    };
    let extra = config.hook_paths.iter().map(|hook| hook.path.as_str());
    let mut names: Vec<_> = extra
        .chain([catalog.get(id).name.as_str()])
        .filter(|name| resolve(name) == Some(id))
        .collect();
    names.dedup();
    names.into_iter().map(ToOwned::to_owned).collect()
}
