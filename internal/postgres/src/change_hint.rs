//! Change hints, and their decoding from the payloads of notifications. Pure.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::trigger_health::TriggerFailure;
use latido_base::ident::{Key, StreamId};
use latido_stream::{Catalog, ChangeHint, ChannelError};

/// The server's NOTIFY channel. The streams have no other, because a listener on any channel costs
/// every committing writer a little.
pub const CHANNEL: &str = "latido";

/// The largest number of keys of one stream in a hint. Beyond it, a hint for the whole stream is
/// cheaper to send and to handle.
const MAX_HINT_KEYS: usize = 10_000;

/// Ends the name of a stream in the payload of a move.
const MOVE_SUFFIX: char = '!';

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

/// The keys of one stream that notifications named.
#[derive(Debug, Default)]
struct KeySet {
    keys: HashSet<Key>,
    /// True if any key of the stream is meant.
    is_every_key: bool,
}

impl KeySet {
    fn insert(&mut self, key: Key) {
        self.keys.insert(key);
        self.is_every_key |= self.keys.len() > MAX_HINT_KEYS;
        if self.is_every_key {
            self.keys.clear();
        }
    }

    /// Returns the keys, or `None` for any key of the stream.
    fn into_keys(self) -> Option<Vec<Key>> {
        (!self.is_every_key).then(|| self.keys.into_iter().collect())
    }
}

/// The notifications gathered until no further message is pending.
#[derive(Debug, Default)]
pub(super) struct HintBatch {
    everything: bool,
    changed: HashMap<StreamId, KeySet>,
    moved: HashMap<StreamId, KeySet>,
    apps: HashSet<String>,
    /// The failures that triggers reported.
    failures: BTreeSet<TriggerFailure>,
    /// The payloads of each app channel, or `None` if there were too many.
    payloads: HashMap<&'static str, Option<BTreeSet<String>>>,
}

impl HintBatch {
    /// Adds the content of a payload: `["stream", key, …]`, where a key with several parts is an
    /// array of them; or `["stream", null]` for every key of the stream.
    /// `["stream", null, "table", "sqlstate"]` is also for every key: a trigger failed. With
    /// `"stream!"` instead of the stream's name, rows that triggers look keys up in moved to these
    /// keys.
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
        let (name, sets) = match name.strip_suffix(MOVE_SUFFIX) {
            Some(name) => (name, &mut self.moved),
            None => (&*name, &mut self.changed),
        };
        // The stream belongs to another server on the same database.
        let Some(stream) = catalog.find(name) else {
            return;
        };
        let set = sets.entry(stream).or_default();
        if let Some(failure) = failure_in(stream, keys.as_slice()) {
            set.is_every_key = true;
            if self.failures.len() < MAX_BATCH_FAILURES {
                self.failures.insert(failure);
            }
            return;
        }
        for key in keys {
            match key.map(|key| catalog.key_of_parts(stream, key.parts())) {
                Some(Ok(key)) => set.insert(key),
                Some(Err(ChannelError::InvalidKey(_))) => {}
                None | Some(Err(_)) => set.is_every_key = true,
            }
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
        // Everything is read once, and moved keys again later.
        for (stream, set) in self.moved {
            let keys = set.into_keys();
            if keys.as_ref().is_none_or(|keys| !keys.is_empty()) {
                hints.push(ChangeHint::Moved { stream, keys });
            }
        }
        if self.everything {
            hints.push(ChangeHint::Everything(None));
            return hints;
        }
        hints.extend(self.apps.into_iter().map(ChangeHint::App));
        for (stream, set) in self.changed {
            match set.into_keys() {
                None => hints.push(ChangeHint::Everything(Some(stream))),
                Some(keys) if keys.is_empty() => {}
                Some(keys) => hints.push(ChangeHint::Changed { stream, keys }),
            }
        }
        hints
    }
}

/// Returns the failure of a trigger that the items behind a stream's name report, if they do.
fn failure_in(stream: StreamId, items: &[Option<PayloadKey<'_>>]) -> Option<TriggerFailure> {
    let [
        None,
        Some(PayloadKey::Part(table)),
        Some(PayloadKey::Part(sqlstate)),
    ] = items
    else {
        return None;
    };
    is_sqlstate(sqlstate).then(|| TriggerFailure {
        stream,
        table: table.to_string(),
        sqlstate: sqlstate.to_string(),
    })
}

/// Returns whether the text has the form of an SQLSTATE. It is shown in `/ready`, and every role
/// that may connect can invent it.
fn is_sqlstate(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A key in a payload: the text of its only part, or the texts of its parts.
enum PayloadKey<'a> {
    Part(Cow<'a, str>),
    Parts(Vec<Cow<'a, str>>),
}

impl<'a> PayloadKey<'a> {
    fn parts(&self) -> &[Cow<'a, str>] {
        match self {
            Self::Part(part) => std::slice::from_ref(part),
            Self::Parts(parts) => parts,
        }
    }
}

/// Serde's untagged enums copy each value before they try the forms.
impl<'de> Deserialize<'de> for PayloadKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PayloadKeyVisitor)
    }
}

struct PayloadKeyVisitor;

impl<'de> Visitor<'de> for PayloadKeyVisitor {
    type Value = PayloadKey<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or an array of texts")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(PayloadKey::Part(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(PayloadKey::Part(text.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = items.next_element::<String>()? {
            parts.push(part.into());
        }
        Ok(PayloadKey::Parts(parts))
    }
}

/// The name at the start of a payload, and the keys behind it.
type PayloadItems<'a> = (Cow<'a, str>, std::vec::IntoIter<Option<PayloadKey<'a>>>);

/// Splits a payload into its name and keys. The server limits a payload to 8,000 bytes, so the work
/// is bounded.
fn parse_payload(payload: &str) -> Result<PayloadItems<'_>, serde_json::Error> {
    let items: Vec<Option<PayloadKey<'_>>> = serde_json::from_str(payload)?;
    let mut items = items.into_iter();
    match items.next().flatten() {
        Some(PayloadKey::Part(name)) if items.len() > 0 => Ok((name, items)),
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
#[path = "change_hint_tests.rs"]
mod tests;
