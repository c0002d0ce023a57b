//! The labels of an enum whose values are keys.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::text_key::valid_text_key;

/// The largest number of labels that a message lists.
const LISTED_LABELS: usize = 20;

/// The labels of an enum. A migration may add or rename some while the server runs; clones share
/// what is learnt then.
#[derive(Debug, Clone)]
pub struct EnumLabels(Arc<RwLock<Arc<[Box<str>]>>>);

impl EnumLabels {
    /// Creates the set of these labels. Those that cannot be keys, because they are empty for
    /// example, are left out.
    pub fn new<T: Into<String>>(labels: impl IntoIterator<Item = T>) -> Self {
        let labels = labels.into_iter().map(Into::into);
        let labels = labels
            .filter_map(valid_text_key)
            .map(String::into_boxed_str);
        let labels = labels.collect();
        Self(Arc::new(RwLock::new(labels)))
    }

    /// Returns the labels, in the order of the enum.
    pub fn labels(&self) -> Arc<[Box<str>]> {
        let labels = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&labels)
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.labels().iter().any(|label| **label == *text)
    }

    /// Takes the labels of another set.
    pub(crate) fn replace(&self, other: &Self) {
        let labels = other.labels();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = labels;
    }
}

/// Two sets are equal if they have the same labels now.
impl PartialEq for EnumLabels {
    fn eq(&self, other: &Self) -> bool {
        self.labels() == other.labels()
    }
}

impl Eq for EnumLabels {}

/// Writes the labels for messages.
impl fmt::Display for EnumLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels();
        let listed = labels.iter().take(LISTED_LABELS);
        let listed: Vec<&str> = listed.map(|label| &**label).collect();
        f.write_str(&listed.join(" or "))?;
        match labels.len() > LISTED_LABELS {
            true => write!(f, " or another of {} labels", labels.len()),
            false => Ok(()),
        }
    }
}
