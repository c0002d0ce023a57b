//! A catalog entry that only the proof of keys needs.

/// A catalog entry that the proof of keys needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum KeyNeed {
    Type(u32),
    Equality(u32),
    /// A relation that foreign keys refer to.
    Ancestor(u32),
}
