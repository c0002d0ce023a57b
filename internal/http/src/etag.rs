//! Entity tags (RFC 9110 section 8.8.3).

use sha2::{Digest, Sha256};

/// Computes an entity tag: a hash of the content.
pub(super) fn entity_tag(bytes: &[u8]) -> String {
    let mut tag = String::from("\"");
    for byte in Sha256::digest(bytes).iter().take(8) {
        tag.push_str(&format!("{byte:02x}"));
    }
    tag.push('"');
    tag
}

/// Returns whether `If-None-Match` contains the entity tag. Weak tags are compared like strong ones
/// (RFC 9110 section 13.1.2).
pub(super) fn etag_matches(if_none_match: &str, tag: &str) -> bool {
    if_none_match
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || opaque_tag(one) == opaque_tag(tag))
}

fn opaque_tag(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_match_in_every_client_format() {
        for same in ["\"7\"", "W/\"7\"", "\"6\", \"7\"", "*"] {
            assert!(etag_matches(same, "\"7\""), "{same}");
            assert!(etag_matches(same, "W/\"7\""), "{same}");
        }
        for other in ["", "7", "\"77\"", "\"6\""] {
            assert!(!etag_matches(other, "\"7\""), "{other}");
        }
    }
}
