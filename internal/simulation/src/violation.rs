//! The description of a violated invariant.

/// A readable description of a violated invariant.
pub(super) type Violation = String;
