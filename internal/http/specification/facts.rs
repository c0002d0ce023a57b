//! What the documents tell of each stream.

use crate::http::{Config, Doors};
use crate::ident::StreamId;
use crate::stream::{Catalog, Column, KeyType, Stream};

/// Whatever knows what a stream's rows look like.
pub trait Shapes: Send + Sync {
    /// The data columns; none while the database has not told them. Must not wait.
    fn columns(&self, stream: &Stream) -> Option<Vec<Column>>;
}

/// One stream, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) event: String,
    pub(super) key_field: String,
    /// What may stand before a key that is no text.
    pub(super) key_prefix: String,
    pub(super) key_type: Option<KeyType>,
    pub(super) columns: Option<Vec<Column>>,
    /// What follows `/notify/` where the hook means this stream.
    pub(super) hooks: Vec<String>,
}

/// Every stream of the server.
pub(super) fn all(doors: &Doors) -> Vec<Facts> {
    let Doors {
        catalog,
        config,
        shapes,
        ..
    } = doors;
    let facts = |(id, stream): (StreamId, &std::sync::Arc<Stream>)| Facts {
        name: stream.name.clone(),
        event: stream.event.clone(),
        key_field: stream.key_field.clone(),
        key_prefix: stream.key_prefix().to_owned(),
        key_type: stream.key_type.get().copied(),
        columns: shapes.columns(stream),
        hooks: hooks(config, catalog, id),
    };
    catalog.iter().map(facts).collect()
}

/// The extra names and the stream's own, as the hook looks for them: an extra name wins.
fn hooks(config: &Config, catalog: &Catalog, id: StreamId) -> Vec<String> {
    let meant = |path: &str| {
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
        .filter(|name| meant(name) == Some(id))
        .collect();
    names.dedup();
    names.into_iter().map(ToOwned::to_owned).collect()
}
