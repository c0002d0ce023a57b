//! Names that appear in channels, frames and token claims.

/// The maximum length of a name, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// Returns whether a text may be the name of a stream, an event, a key part or a parameter: 1 to 63
/// letters, digits, `_` or `-`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
