//! Why a key is read.

use std::ops::BitOrAssign;

/// Where a hint that a key may have changed came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    /// A topic's first viewer.
    Subscribe = 1,
    /// A notification by a trigger.
    Trigger = 2,
    /// `POST /notify/…`.
    Hook = 4,
    /// The slow re-read of everything watched.
    Sweep = 8,
    /// Midnight in the business's zone.
    Rollover = 16,
    /// Everything watched, since notifications may have been missed.
    Resync = 32,
    /// The timer of a key that changes too often to be told of.
    Timer = 64,
}

impl Source {
    pub(super) const ALL: [Self; 7] = [
        Self::Subscribe,
        Self::Trigger,
        Self::Hook,
        Self::Sweep,
        Self::Rollover,
        Self::Resync,
        Self::Timer,
    ];

    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Trigger => "trigger",
            Self::Hook => "hook",
            Self::Sweep => "sweep",
            Self::Rollover => "rollover",
            Self::Resync => "resync",
            Self::Timer => "timer",
        }
    }
}

/// A set of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sources(u8);

impl Sources {
    pub(super) fn insert(&mut self, source: Source) {
        self.0 |= source as u8;
    }

    /// Whether `source` is the only one.
    pub(super) fn is_only(self, source: Source) -> bool {
        self.0 == source as u8
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Source> {
        Source::ALL
            .into_iter()
            .filter(move |source| self.0 & *source as u8 != 0)
    }
}

impl From<Source> for Sources {
    fn from(source: Source) -> Self {
        Self(source as u8)
    }
}

impl BitOrAssign for Sources {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
