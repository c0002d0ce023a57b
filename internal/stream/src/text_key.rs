//! The texts that may be keys.

/// The maximum length of a key, in bytes. A NOTIFY payload must be able to carry it.
pub const MAX_KEY_BYTES: usize = 200;

/// Returns the text if it is acceptable as a key. Postgres cannot store NUL in a text. Other control
/// characters are a mistake or an attempt to inject log lines.
pub(crate) fn valid_text_key(text: String) -> Option<String> {
    let is_valid =
        !text.is_empty() && text.len() <= MAX_KEY_BYTES && !text.chars().any(char::is_control);
    is_valid.then_some(text)
}
