//! The limit of the choices of parameters of one key.
//!
//! A key is bounded by rights and by the rows of a table, but its parameters are any that a client
//! invents. Each choice is a topic with a read of its own, so their number has a limit. It is
//! checked under the hub's lock, where topics come into being.

use std::collections::HashMap;

use latido_base::ident::Topic;

/// The error for a topic beyond the limit of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected at most {limit} different choices of parameters of one key at a time; try again later"
)]
pub struct TooManyParamSets {
    /// The limit.
    pub limit: usize,
}

/// The watched topics that have parameters, counted by key.
#[derive(Debug)]
pub(super) struct ParamSets {
    pub(super) limit: usize,
    by_key: HashMap<Topic, usize>,
    total: usize,
}

impl Default for ParamSets {
    fn default() -> Self {
        Self {
            limit: usize::MAX,
            by_key: HashMap::new(),
            total: 0,
        }
    }
}

impl ParamSets {
    /// Counts a new topic.
    ///
    /// # Errors
    /// Its key has as many as it may have.
    pub(super) fn add(&mut self, topic: &Topic) -> Result<(), TooManyParamSets> {
        let Some(key) = limited_key(topic) else {
            return Ok(());
        };
        let known = self.by_key.get(&key).copied().unwrap_or_default();
        if known >= self.limit {
            return Err(TooManyParamSets { limit: self.limit });
        }
        self.by_key.insert(key, known + 1);
        self.total += 1;
        Ok(())
    }

    /// Removes a topic that was counted.
    pub(super) fn remove(&mut self, topic: &Topic) {
        let Some(key) = limited_key(topic) else {
            return;
        };
        if let Some(count) = self.by_key.get_mut(&key) {
            *count -= 1;
            self.total -= 1;
            if *count == 0 {
                self.by_key.remove(&key);
            }
        }
    }

    /// Returns the number of all counted topics.
    pub(super) fn total(&self) -> usize {
        self.total
    }
}

/// Returns the key whose topics are counted. A key without parameters is its one topic.
fn limited_key(topic: &Topic) -> Option<Topic> {
    topic.key.params().next().map(|_| topic.without_params())
}

#[cfg(test)]
mod tests {
    use latido_base::ident::{Key, StreamId};

    use super::*;

    fn topic(key: &str, param: Option<&str>) -> Topic {
        Topic {
            stream: StreamId(0),
            key: Key::from_canonical(key).with_params(param),
        }
    }

    #[test]
    fn each_key_has_its_own_limit_and_nothing_is_kept() {
        let mut sets = ParamSets {
            limit: 2,
            ..ParamSets::default()
        };
        for (key, param) in [("7", "a"), ("7", "b"), ("8", "a")] {
            assert_eq!(sets.add(&topic(key, Some(param))), Ok(()));
        }
        let refused = Err(TooManyParamSets { limit: 2 });
        assert_eq!(sets.add(&topic("7", Some("c"))), refused);
        assert_eq!(sets.add(&topic("7", None)), Ok(()), "no parameters");
        assert_eq!(sets.total(), 3);
        sets.remove(&topic("7", Some("a")));
        sets.remove(&topic("7", None));
        assert_eq!(sets.add(&topic("7", Some("c"))), Ok(()));
        for (key, param) in [("7", "b"), ("7", "c"), ("8", "a"), ("9", "a")] {
            sets.remove(&topic(key, Some(param)));
        }
        assert_eq!((sets.total(), sets.by_key.len()), (0, 0));
    }
}
