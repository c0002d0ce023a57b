//! The part of a token that identifies it.

/// Returns the part of a token that its signature covers. It identifies the token: an ECDSA
/// signature can be changed into another valid one, and the whole token then has another hash.
pub(super) fn signed_part(token: &str) -> &str {
    token.rsplit_once('.').map_or(token, |(signed, _)| signed)
}
