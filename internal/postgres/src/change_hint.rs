//! Change hints, and their decoding from the payloads of notifications. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Deserialize;

use crate::trigger_health::TriggerFailure;
use latido_base::ident::{Key, StreamId};
use latido_stream::{Catalog, ChangeHint, ChannelError};

/// The server's NOTIFY channel. The streams have no other, because a listener on any channel costs
/// every committing writer a little.
pub const CHANNEL: &str = "latido";

/// The largest number of keys of one stream in a hint. Beyond it, a hint for the whole stream is
/// cheaper to send and to handle.
const MAX_HINT_KEYS: usize = 10_000;

/// The prefix of names that belong to an app and not to a stream.
const APP_PREFIX: &str = "app:";

/// The largest number of apps in one batch of notifications. There are few apps, and every role
/// that may connect can invent names.
const MAX_BATCH_APPS: usize = 16;

/// The largest number of failures of triggers in one batch of notifications.
const MAX_BATCH_FAILURES: usize = 16;

/// The largest number of distinct payloads of an app's channel in a hint. Beyond it, the app must
/// read everything.
const MAX_BATCH_PAYLOADS: usize = 1024;

/// The notifications gathered until no further message is pending.
#[derive(Debug, Default)]
pub(super) struct HintBatch {
    everything: bool,
    whole_streams: HashSet<StreamId>,
    keys: HashMap<StreamId, HashSet<Key>>,
    apps: HashSet<String>,
    /// The failures that triggers reported.
    failures: BTreeSet<TriggerFailure>,
    /// The payloads of each app channel, or `None` if there were too many.
    payloads: HashMap<&'static str, Option<BTreeSet<String>>>,
}

impl HintBatch {
    /// Adds the content of a payload: `["stream", key, …]`, where a key with several parts is an
    /// array of them; or `["stream", null]` for every key of
    /// the stream. `["stream", null, "table", "sqlstate"]` is also for every key: a trigger failed.
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
        if let [
            None,
            Some(PayloadKey::Part(table)),
            Some(PayloadKey::Part(sqlstate)),
        ] = keys.as_slice()
            && is_sqlstate(sqlstate)
        {
            self.whole_streams.insert(stream);
            if self.failures.len() < MAX_BATCH_FAILURES {
                self.failures.insert(TriggerFailure {
                    stream,
                    table: table.clone(),
                    sqlstate: sqlstate.clone(),
                });
            }
            return;
        }
        let set = self.keys.entry(stream).or_default();
        for key in keys {
            match key.map(|key| catalog.key_of_parts(stream, key.parts())) {
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

    /// Adds a payload of an app's channel.
    pub(super) fn add_payload(&mut self, channel: &'static str, payload: &str) {
        let all = self.payloads.entry(channel);
        let all = all.or_insert_with(|| Some(BTreeSet::new()));
        if let Some(known) = all {
            known.insert(payload.to_owned());
            if known.len() > MAX_BATCH_PAYLOADS {
                *all = None;
            }
        }
    }

    /// Removes and returns the failures that triggers reported.
    pub(super) fn take_failures(&mut self) -> BTreeSet<TriggerFailure> {
        std::mem::take(&mut self.failures)
    }

    /// Returns the hints that the gathered notifications amount to.
    pub(super) fn into_hints(self) -> Vec<ChangeHint> {
        let payloads = self.payloads.into_iter();
        let payloads = payloads.map(|(channel, payloads)| ChangeHint::Payloads {
            channel,
            payloads: payloads.map(|payloads| payloads.into_iter().collect()),
        });
        let mut hints: Vec<_> = payloads.collect();
        if self.everything {
            hints.push(ChangeHint::Everything(None));
            return hints;
        }
        hints.extend(self.apps.into_iter().map(ChangeHint::App));
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

/// Returns whether the text has the form of an SQLSTATE. It is shown in `/ready`, and every role
/// that may connect can invent it.
fn is_sqlstate(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A key in a payload: the text of its only part, or the texts of its parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum PayloadKey {
    Part(String),
    Parts(Vec<String>),
}

impl PayloadKey {
    fn parts(&self) -> &[String] {
        match self {
            Self::Part(part) => std::slice::from_ref(part),
            Self::Parts(parts) => parts,
        }
    }
}

/// Splits a payload into its name and keys. The server limits a payload to 8,000 bytes, so the work
/// is bounded.
fn parse_payload(payload: &str) -> Result<(String, Vec<Option<PayloadKey>>), serde_json::Error> {
    let mut items: std::collections::VecDeque<Option<PayloadKey>> = serde_json::from_str(payload)?;
    match items.pop_front().flatten() {
        Some(PayloadKey::Part(name)) if !items.is_empty() => Ok((name, items.into())),
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
    fn payloads_of_an_app_channel_are_passed_on_once() {
        let mut batch = HintBatch::default();
        for payload in ["b", "a", "b"] {
            batch.add_payload("orders", payload);
        }
        batch.add(&catalog(KeyType::Integer), "unknown");
        let payloads = ChangeHint::Payloads {
            channel: "orders",
            payloads: Some(vec!["a".to_owned(), "b".to_owned()]),
        };
        assert_eq!(batch.into_hints(), [payloads, ChangeHint::Everything(None)]);
        let mut batch = HintBatch::default();
        for n in 0..=MAX_BATCH_PAYLOADS + 1 {
            batch.add_payload("orders", &n.to_string());
        }
        let too_many = ChangeHint::Payloads {
            channel: "orders",
            payloads: None,
        };
        assert_eq!(batch.into_hints(), [too_many]);
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
    fn failure_of_a_trigger_means_every_key_of_its_stream() {
        let mut batch = HintBatch::default();
        let failed = r#"["estadisticas",null,"public.citas","42703"]"#;
        batch.add(&catalog(KeyType::Text), failed);
        batch.add(&catalog(KeyType::Text), failed);
        batch.add(
            &catalog(KeyType::Text),
            r#"["estadisticas",null,"t","<script>"]"#,
        );
        let failures: Vec<_> = batch.take_failures().into_iter().collect();
        assert_eq!(failures.len(), 1);
        assert_eq!(
            (failures[0].table.as_str(), failures[0].sqlstate.as_str()),
            ("public.citas", "42703")
        );
        assert_eq!(
            batch.into_hints(),
            [ChangeHint::Everything(Some(StreamId(0)))]
        );
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
        stream.key_types = std::sync::OnceLock::new();
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
