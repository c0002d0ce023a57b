//! What is heard, and how a notification's payload becomes it. Pure.

use std::collections::{HashMap, HashSet};

use crate::ident::{Key, StreamId};
use crate::stream::{Catalog, ChannelError};

/// The one NOTIFY channel: a listener costs every committing writer a little, on any channel.
pub const CHANNEL: &str = "latido";

/// Keys of one stream in one notice; beyond, «everything» is cheaper to say and to obey.
const MAX_KEYS: usize = 10_000;

/// Names that begin so are an app's, and no stream's.
const APP: &str = "app:";

/// Apps that may be named in one burst; there are few, and anybody who may connect can make names up.
const MAX_APPS: usize = 16;

/// What the engine is told. All are hints to read: anybody who may connect can forge a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// These keys changed; distinct, at least one.
    Changed {
        /// Their stream.
        stream: StreamId,
        /// Canonical.
        keys: Vec<Key>,
    },
    /// Something of this app's changed (`["app:messaging",""]`): no engine's concern.
    App(String),
    /// Any key of the stream may have changed; None: of every stream.
    Everything(Option<StreamId>),
    /// Notifications do not arrive any more, and those of now are lost for ever.
    Lost,
    /// Notifications arrive, proven by one of our own. Whatever changed before is unknown: read everything that is watched.
    Listening,
    /// LISTEN succeeds but nothing ever arrives: a transaction pooler stands between, or the two URLs lead to different databases.
    Deaf,
}

/// Notifications gathered until the wire is quiet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    all: bool,
    whole: HashSet<StreamId>,
    keys: HashMap<StreamId, HashSet<Key>>,
    apps: HashSet<String>,
}

impl Gathered {
    /// Adds what a payload says: `["stream", key, …]`, or `["stream", null]` for every key of it.
    ///
    /// Anything else could be a message that we fail to understand, so it means everything. A key that no client could
    /// subscribe to is passed over.
    pub(super) fn add(&mut self, catalog: &Catalog, payload: &str) {
        let Ok((name, keys)) = parse(payload) else {
            self.all = true;
            return;
        };
        if let Some(app) = name.strip_prefix(APP) {
            if self.apps.len() < MAX_APPS {
                self.apps.insert(app.to_owned());
            }
            return;
        }
        // A stream of another server on the same database.
        let Some(stream) = catalog.find(&name) else {
            return;
        };
        let set = self.keys.entry(stream).or_default();
        for key in keys {
            match key.as_deref().map(|key| catalog.parse_key(stream, key)) {
                Some(Ok(key)) => drop(set.insert(key)),
                Some(Err(ChannelError::Key(_))) => {}
                None | Some(Err(_)) => drop(self.whole.insert(stream)),
            }
        }
        if set.len() > MAX_KEYS {
            self.whole.insert(stream);
            set.clear();
        }
    }

    /// What it amounts to.
    pub(super) fn into_notices(self) -> Vec<Notice> {
        if self.all {
            return vec![Notice::Everything(None)];
        }
        let mut notices: Vec<_> = self.apps.into_iter().map(Notice::App).collect();
        notices.extend(
            self.whole
                .iter()
                .map(|stream| Notice::Everything(Some(*stream))),
        );
        for (stream, keys) in self.keys {
            if !keys.is_empty() && !self.whole.contains(&stream) {
                notices.push(Notice::Changed {
                    stream,
                    keys: keys.into_iter().collect(),
                });
            }
        }
        notices
    }
}

/// The server limits a payload to 8,000 bytes, so this is bounded work.
fn parse(payload: &str) -> Result<(String, Vec<Option<String>>), serde_json::Error> {
    let mut items: std::collections::VecDeque<Option<String>> = serde_json::from_str(payload)?;
    match items.pop_front().flatten() {
        Some(name) if !items.is_empty() => Ok((name, items.into())),
        _ => Err(serde::de::Error::custom("expected a stream and keys")),
    }
}

/// What one payload amounts to, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn notices_of(catalog: &Catalog, payload: &str) -> Vec<Notice> {
    let mut gathered = Gathered::default();
    if !is_probe(payload) {
        gathered.add(catalog, payload);
    }
    gathered.into_notices()
}

/// A probe's payload: not an array, so never taken for a change.
pub(super) fn probe(nonce: u64) -> String {
    format!("probe {nonce:016x}")
}

/// Whether this is some server's probe.
pub(super) fn is_probe(payload: &str) -> bool {
    payload.starts_with("probe ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::{KeyType, Stream};

    fn catalog(key_type: KeyType) -> Catalog {
        Catalog::new(vec![Stream::fake("estadisticas", Some(key_type))])
    }

    fn heard(payloads: &[&str]) -> Vec<Notice> {
        let (mut gathered, catalog) = (Gathered::default(), catalog(KeyType::Integer));
        payloads
            .iter()
            .for_each(|payload| gathered.add(&catalog, payload));
        gathered.into_notices()
    }

    #[test]
    fn several_payloads_become_one_notice() {
        let notices = heard(&[
            r#"["estadisticas","7"]"#,
            r#"["estadisticas","7"]"#,
            r#"["otra","1"]"#,
        ]);
        assert_eq!(
            notices,
            [Notice::Changed {
                stream: StreamId(0),
                keys: vec![Key::from_canonical("7")]
            }]
        );
        assert_eq!(
            heard(&[r#"["estadisticas","7"]"#, r#"["estadisticas",null]"#]),
            [Notice::Everything(Some(StreamId(0)))]
        );
        assert_eq!(heard(&[r#"["estadisticas","no number"]"#]), []);
        let many: Vec<_> = (0..=MAX_KEYS)
            .map(|n| format!(r#"["estadisticas","{n}"]"#))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(heard(&many), [Notice::Everything(Some(StreamId(0)))]);
    }

    #[test]
    fn an_app_is_told_once_a_burst() {
        let notices = heard(&[
            r#"["app:messaging",""]"#,
            r#"["app:messaging",""]"#,
            r#"["estadisticas","7"]"#,
        ]);
        assert_eq!(notices.len(), 2);
        assert_eq!(notices[0], Notice::App("messaging".to_owned()));
        let many: Vec<_> = (0..100).map(|n| format!(r#"["app:{n}",""]"#)).collect();
        assert_eq!(
            heard(&many.iter().map(String::as_str).collect::<Vec<_>>()).len(),
            MAX_APPS
        );
    }

    #[test]
    fn what_we_do_not_understand_means_everything() {
        for payload in [
            "",
            "x",
            "{}",
            "[]",
            "null",
            r#"["estadisticas"]"#,
            r#"[7,"1"]"#,
            r#"["estadisticas",7]"#,
        ] {
            assert_eq!(heard(&[payload]), [Notice::Everything(None)], "{payload}");
        }
    }

    #[test]
    fn an_unknown_key_type_means_every_key() {
        let mut catalog = catalog(KeyType::Text);
        let mut streams: Vec<_> = catalog.iter().map(|(_, s)| s.clone()).collect();
        drop(catalog);
        let mut stream = std::sync::Arc::try_unwrap(streams.remove(0)).unwrap();
        stream.key_type = std::sync::OnceLock::new();
        catalog = Catalog::new(vec![stream]);
        let mut gathered = Gathered::default();
        gathered.add(&catalog, r#"["estadisticas","7"]"#);
        assert_eq!(
            gathered.into_notices(),
            [Notice::Everything(Some(StreamId(0)))]
        );
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in ".{0,200}", nested in 0usize..5000) {
            heard(&[&payload, &"[".repeat(nested)]);
        }
    }
}
