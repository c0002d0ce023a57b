//! Change hints, and their decoding from the payloads of notifications. Pure.

use std::collections::{HashMap, HashSet};

use latido_base::ident::{Key, StreamId};
use latido_stream::{Catalog, ChangeHint, ChannelError};

/// The only NOTIFY channel: a listener on any channel costs every committing writer a little.
pub const CHANNEL: &str = "latido";

/// The largest number of keys of one stream in a hint. Beyond it, a hint for the whole stream is
/// cheaper to send and to handle.
const MAX_HINT_KEYS: usize = 10_000;

/// The prefix of names that belong to an app and not to a stream.
const APP_PREFIX: &str = "app:";

/// The largest number of apps in one batch of notifications. There are few apps, and every role
/// that may connect can invent names.
const MAX_BATCH_APPS: usize = 16;

/// The notifications gathered until no further message is pending.
#[derive(Debug, Default)]
pub(super) struct HintBatch {
    everything: bool,
    whole_streams: HashSet<StreamId>,
    keys: HashMap<StreamId, HashSet<Key>>,
    apps: HashSet<String>,
}

impl HintBatch {
    /// Adds the content of a payload: `["stream", key, …]`, or `["stream", null]` for every key of
    /// the stream.
    ///
    /// Any other payload could be a message that this version does not understand, so it counts as
    /// a change of everything. Keys that no client could subscribe to are skipped.
    pub(super) fn add(&mut self, catalog: &Catalog, payload: &str) {
        let Ok((name, keys)) = parse_payload(payload) else {
            self.everything = true;
            return;
        };
        if let Some(app) = name.strip_prefix(APP_PREFIX) {
            if self.apps.len() < MAX_BATCH_APPS {
                self.apps.insert(app.to_owned());
            }
            return;
        }
        // The stream belongs to another server on the same database.
        let Some(stream) = catalog.find(&name) else {
            return;
        };
        let set = self.keys.entry(stream).or_default();
        for key in keys {
            match key.as_deref().map(|key| catalog.parse_key(stream, key)) {
                Some(Ok(key)) => drop(set.insert(key)),
                Some(Err(ChannelError::InvalidKey(_))) => {}
                None | Some(Err(_)) => drop(self.whole_streams.insert(stream)),
            }
        }
        if set.len() > MAX_HINT_KEYS {
            self.whole_streams.insert(stream);
            set.clear();
        }
    }

    /// Returns the hints that the gathered notifications amount to.
    pub(super) fn into_hints(self) -> Vec<ChangeHint> {
        if self.everything {
            return vec![ChangeHint::Everything(None)];
        }
        let mut hints: Vec<_> = self.apps.into_iter().map(ChangeHint::App).collect();
        hints.extend(
            self.whole_streams
                .iter()
                .map(|stream| ChangeHint::Everything(Some(*stream))),
        );
        for (stream, keys) in self.keys {
            if !keys.is_empty() && !self.whole_streams.contains(&stream) {
                hints.push(ChangeHint::Changed {
                    stream,
                    keys: keys.into_iter().collect(),
                });
            }
        }
        hints
    }
}

/// Splits a payload into its name and keys. The server limits a payload to 8,000 bytes, so the work
/// is bounded.
fn parse_payload(payload: &str) -> Result<(String, Vec<Option<String>>), serde_json::Error> {
    let mut items: std::collections::VecDeque<Option<String>> = serde_json::from_str(payload)?;
    match items.pop_front().flatten() {
        Some(name) if !items.is_empty() => Ok((name, items.into())),
        _ => Err(serde::de::Error::custom("expected a stream and keys")),
    }
}

/// Returns the hints of one payload; for tests and fuzzing.
#[cfg(any(test, fuzzing, feature = "testing"))]
pub fn parse_hints(catalog: &Catalog, payload: &str) -> Vec<ChangeHint> {
    let mut batch = HintBatch::default();
    if !is_probe(payload) {
        batch.add(catalog, payload);
    }
    batch.into_hints()
}

/// Builds the payload of a probe. It is not a JSON array, so it is never taken for a change.
pub(super) fn probe_payload(nonce: u64) -> String {
    format!("probe {nonce:016x}")
}

/// Returns whether the payload is a probe of any server.
pub(super) fn is_probe(payload: &str) -> bool {
    payload.starts_with("probe ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use latido_stream::{KeyType, Stream};

    fn catalog(key_type: KeyType) -> Catalog {
        Catalog::new(vec![Stream::test_stream("estadisticas", Some(key_type))])
    }

    fn hints_of(payloads: &[&str]) -> Vec<ChangeHint> {
        let (mut batch, catalog) = (HintBatch::default(), catalog(KeyType::Integer));
        payloads
            .iter()
            .for_each(|payload| batch.add(&catalog, payload));
        batch.into_hints()
    }

    #[test]
    fn several_payloads_become_one_hint() {
        let hints = hints_of(&[
            r#"["estadisticas","7"]"#,
            r#"["estadisticas","7"]"#,
            r#"["otra","1"]"#,
        ]);
        assert_eq!(
            hints,
            [ChangeHint::Changed {
                stream: StreamId(0),
                keys: vec![Key::from_canonical("7")]
            }]
        );
        assert_eq!(
            hints_of(&[r#"["estadisticas","7"]"#, r#"["estadisticas",null]"#]),
            [ChangeHint::Everything(Some(StreamId(0)))]
        );
        assert_eq!(hints_of(&[r#"["estadisticas","no number"]"#]), []);
        let many: Vec<_> = (0..=MAX_HINT_KEYS)
            .map(|n| format!(r#"["estadisticas","{n}"]"#))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(hints_of(&many), [ChangeHint::Everything(Some(StreamId(0)))]);
    }

    #[test]
    fn app_gets_one_hint_per_batch() {
        let hints = hints_of(&[
            r#"["app:messaging",""]"#,
            r#"["app:messaging",""]"#,
            r#"["estadisticas","7"]"#,
        ]);
        assert_eq!(hints.len(), 2);
        assert_eq!(hints[0], ChangeHint::App("messaging".to_owned()));
        let many: Vec<_> = (0..100).map(|n| format!(r#"["app:{n}",""]"#)).collect();
        assert_eq!(
            hints_of(&many.iter().map(String::as_str).collect::<Vec<_>>()).len(),
            MAX_BATCH_APPS
        );
    }

    #[test]
    fn unknown_payload_means_everything() {
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
            assert_eq!(
                hints_of(&[payload]),
                [ChangeHint::Everything(None)],
                "{payload}"
            );
        }
    }

    #[test]
    fn unknown_key_type_means_every_key() {
        let mut catalog = catalog(KeyType::Text);
        let mut streams: Vec<_> = catalog.iter().map(|(_, s)| s.clone()).collect();
        drop(catalog);
        let mut stream = std::sync::Arc::try_unwrap(streams.remove(0)).unwrap();
        stream.key_type = std::sync::OnceLock::new();
        catalog = Catalog::new(vec![stream]);
        let mut batch = HintBatch::default();
        batch.add(&catalog, r#"["estadisticas","7"]"#);
        assert_eq!(
            batch.into_hints(),
            [ChangeHint::Everything(Some(StreamId(0)))]
        );
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in ".{0,200}", nested in 0usize..5000) {
            hints_of(&[&payload, &"[".repeat(nested)]);
        }
    }
}
