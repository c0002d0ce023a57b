//! The sources of change hints: the reasons to read a key.

use std::ops::BitOrAssign;

/// The source of a hint that a key may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HintSource {
    /// The first viewer of a topic subscribed.
    Subscribe = 1,
    /// A trigger sent a notification.
    Trigger = 2,
    /// A client called the hook, `POST /notify/…`.
    Hook = 4,
    /// The periodic re-read of all watched keys.
    Sweep = 8,
    /// Midnight in the business's zone.
    Rollover = 16,
    /// A re-read of all watched keys, because notifications may have been missed.
    Resync = 32,
    /// The poll timer of a key that changes too often for notifications.
    Timer = 64,
    /// A row that triggers look keys up in moved to the key.
    Move = 128,
}

impl HintSource {
    pub(super) const ALL: [Self; 8] = [
        Self::Subscribe,
        Self::Trigger,
        Self::Hook,
        Self::Sweep,
        Self::Rollover,
        Self::Resync,
        Self::Timer,
        Self::Move,
    ];

    /// Returns the label used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Trigger => "trigger",
            Self::Hook => "hook",
            Self::Sweep => "sweep",
            Self::Rollover => "rollover",
            Self::Resync => "resync",
            Self::Timer => "timer",
            Self::Move => "move",
        }
    }
}

/// A set of hint sources, as a bit mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HintSources(u8);

impl HintSources {
    pub(super) fn insert(&mut self, source: HintSource) {
        self.0 |= source as u8;
    }

    /// Returns whether `source` is the only element.
    pub(super) fn is_only(self, source: HintSource) -> bool {
        self.0 == source as u8
    }

    pub(super) fn iter(self) -> impl Iterator<Item = HintSource> {
        HintSource::ALL
            .into_iter()
            .filter(move |source| self.0 & *source as u8 != 0)
    }
}

impl From<HintSource> for HintSources {
    fn from(source: HintSource) -> Self {
        Self(source as u8)
    }
}

impl BitOrAssign for HintSources {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
