//! How the engine says which keys it watches, so that writers of all others can stay silent.

use crate::ident::Topic;

/// Whether writers of a key tell of their changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arming {
    /// They do: what is read now is followed by a hint at every change.
    Armed,
    /// They will in a moment, and [`crate::engine::Engine::armed`] will say so: a read before that could miss a silent change.
    Soon,
    /// Nobody can say: notifications don't arrive, or not now. Reading at once is as good as reading later.
    Unknown,
}

impl From<Option<bool>> for Arming {
    /// What [`crate::postgres::Interest::add`] says: whether the locks are held, if they can be had at all.
    fn from(held: Option<bool>) -> Self {
        match held {
            Some(true) => Self::Armed,
            Some(false) => Self::Soon,
            None => Self::Unknown,
        }
    }
}

/// Declares interest in keys. Called under the engine's lock: must not block, and must not call back.
pub trait Interest: Send + Sync {
    /// The key has viewers.
    fn watch(&self, topic: &Topic) -> Arming;

    /// It has none any more.
    fn unwatch(&self, topic: &Topic);

    /// It has, but writers need not tell: it is read on a timer until it is watched again. False: they tell all the same.
    fn relax(&self, topic: &Topic) -> bool {
        let _ = topic;
        false
    }
}

/// For databases whose writers always tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoInterest;

impl Interest for NoInterest {
    fn watch(&self, _: &Topic) -> Arming {
        Arming::Armed
    }

    fn unwatch(&self, _: &Topic) {}
}
