//! Which advisory lock stands for a key. The trigger computes the same (`install/gate.sql`).

use sha2::{Digest, Sha256};

/// The first half of our advisory locks' two-part keys: `lato` in ASCII.
pub(in crate::postgres) const CLASS: i32 = 0x6c61_746f;
/// How many buckets each of a key's two hashes has. Enough that two businesses seldom share both; few enough that all locks together are a
/// small part of the server's lock table, however many keys are watched or written.
pub(in crate::postgres) const BUCKETS: u16 = 1024;
/// How many locks there are: the second hash has buckets of its own.
pub(in crate::postgres) const LOCKS: u16 = 2 * BUCKETS;

/// The two locks of a key, never the same: bytes 0 and 1 of SHA-256 of `stream:key`, modulo [`BUCKETS`], and bytes 2 and 3, behind them.
pub(super) fn locks(stream: &str, key: &str) -> [u16; 2] {
    let mut hash = Sha256::new();
    hash.update(stream.as_bytes());
    hash.update(b":");
    hash.update(key.as_bytes());
    let hash = hash.finalize();
    let bucket = |at: usize| u16::from_be_bytes([hash[at], hash[at + 1]]) % BUCKETS;
    [bucket(0), BUCKETS + bucket(2)]
}
