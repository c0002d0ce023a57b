//! Which advisory lock stands for a key. The trigger computes the same (`install/gate.sql`).

use sha2::{Digest, Sha256};

/// The first half of our advisory locks' two-part keys: `lato` in ASCII.
pub(in crate::postgres) const CLASS: i32 = 0x6c61_746f;
/// How many locks there are. Enough that two businesses seldom share one; few enough that all of them together are a small part of the
/// server's lock table, however many keys are watched or written.
pub(in crate::postgres) const BUCKETS: u16 = 1024;

/// The bucket of a key: the first two bytes of SHA-256 of `stream:key`, modulo [`BUCKETS`].
pub(super) fn bucket(stream: &str, key: &str) -> u16 {
    let mut hash = Sha256::new();
    hash.update(stream.as_bytes());
    hash.update(b":");
    hash.update(key.as_bytes());
    let hash = hash.finalize();
    u16::from_be_bytes([hash[0], hash[1]]) % BUCKETS
}
