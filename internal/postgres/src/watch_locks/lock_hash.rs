//! The advisory locks of a key. The triggers' SQL and the server's code are in one file, because
//! they must agree.

use std::collections::HashSet;

use latido_stream::Stream;

/// The first half of the advisory locks' two-part keys: `lato` in ASCII.
pub(super) const LOCK_CLASS: i32 = 0x6c61_746f;
/// The number of buckets of each of a key's two hashes; a power of two. There are enough that two
/// businesses seldom share both. There are few enough that all locks together are a small part of
/// the server's lock table, for any number of watched or written keys.
pub(super) const BUCKETS: u16 = 1024;
/// The number of the locks of keys: the second hash has buckets of its own.
pub(super) const LOCK_COUNT: u16 = 2 * BUCKETS;
/// The number of blocks of gate locks. Streams whose names hash to one block share it, which costs
/// their writers a needless lookup at most.
const GATE_BLOCKS: u16 = 16;
/// The number of locks in a block; a power of two. A silent writer holds one of them exclusively
/// until it ends, so with one lock alone the other writers would look up for nothing: at 32 writers
/// that halved their rate.
pub(super) const GATE_SLOTS: u16 = 64;

/// Returns the two locks of a key, which always differ: the lowest bits of the two halves of its
/// hash. The second lock's buckets follow the first's.
///
/// The hash is that of `stream:part`; the hash of each further part takes the one before as its
/// seed. So no two keys of several parts are confused.
pub(super) fn lock_pair<'a>(stream: &str, parts: impl IntoIterator<Item = &'a str>) -> [u16; 2] {
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or_default();
    let hash = hash_text(format!("{stream}:{first}").as_bytes(), 0);
    let hash = parts.fold(hash, |seed, part| hash_text(part.as_bytes(), seed));
    let bucket = |bits: u64| u16::try_from(bits % u64::from(BUCKETS)).unwrap_or_default();
    [bucket(hash), BUCKETS + bucket(hash >> 32)]
}

/// Returns the gate locks of a stream. A server that watches any key of a stream whose triggers
/// look keys up holds all of them as shared locks.
pub(super) fn gate_locks(stream: &str) -> std::ops::Range<u16> {
    let block = hash_text(stream.as_bytes(), 0) % u64::from(GATE_BLOCKS);
    let start = LOCK_COUNT + u16::try_from(block).unwrap_or_default() * GATE_SLOTS;
    start..start + GATE_SLOTS
}

/// Returns the first lock of the block that a gate lock belongs to, or `None` for the lock of a key.
pub(super) fn gate_of_lock(lock: u16) -> Option<u16> {
    let offset = lock.checked_sub(LOCK_COUNT)?;
    Some(lock - offset % GATE_SLOTS)
}

/// Returns the largest number of locks that a server holds for these streams, however many keys are
/// watched.
pub(crate) fn max_locks<'a>(streams: impl Iterator<Item = &'a Stream>) -> usize {
    let gates: HashSet<_> = streams
        .filter(|stream| stream.has_gate())
        .map(|stream| gate_locks(&stream.name).start)
        .collect();
    usize::from(LOCK_COUNT) + gates.len() * usize::from(GATE_SLOTS)
}

/// Returns the first gate lock of a stream.
pub(crate) fn first_gate_lock(stream: &str) -> u16 {
    gate_locks(stream).start
}

/// Returns SQL that tries one gate lock of a stream, chosen by the number of the writer's process,
/// and is true if the lock was free: then no server watches any key of the stream. `first` is SQL for
/// the stream's first gate lock.
pub(crate) fn try_gate_sql(first: &str) -> String {
    format!(
        "pg_catalog.pg_try_advisory_xact_lock({LOCK_CLASS}, {first} OPERATOR(pg_catalog.+) \
         (pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.&) {}))",
        GATE_SLOTS - 1
    )
}

/// Returns SQL for the hash of a text expression. The built-in hash costs a writer a tenth of
/// SHA-256. Postgres also hashes partitions with it, so it does not change. It depends on
/// collation, encoding and byte order: the collation is fixed here, and [`probe_sql`] checks the
/// others.
pub(crate) fn hash_sql(text: &str) -> String {
    format!("pg_catalog.hashtextextended(({text}) COLLATE pg_catalog.\"C\", 0)")
}

/// Returns SQL for the hash of a key with these parts, as [`lock_pair`] computes it. `stream` and the
/// parts are SQL for texts.
pub(crate) fn hash_parts_sql(stream: &str, parts: &[String]) -> String {
    let (first, rest) = match parts.split_first() {
        Some((first, rest)) => (first.as_str(), rest),
        None => ("''", parts),
    };
    let first = hash_sql(&format!(
        "{stream} OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) {first}"
    ));
    rest.iter().fold(first, |seed, part| {
        format!("pg_catalog.hashtextextended(({part}) COLLATE pg_catalog.\"C\", {seed})")
    })
}

/// Returns SQL that tries the first lock of a key with this hash, and is true if the lock was free.
pub(crate) fn try_first_sql(hash: &str) -> String {
    format!(
        "pg_catalog.pg_try_advisory_xact_lock({LOCK_CLASS}, ({hash} OPERATOR(pg_catalog.&) {})::int)",
        BUCKETS - 1
    )
}

/// Returns SQL that tries the second lock of a key, like [`try_first_sql`].
pub(crate) fn try_second_sql(hash: &str) -> String {
    format!(
        "pg_catalog.pg_try_advisory_xact_lock({LOCK_CLASS}, \
         (({hash} OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) {})::int OPERATOR(pg_catalog.+) {BUCKETS})",
        BUCKETS - 1
    )
}

/// Returns SQL for one boolean: whether the database hashes as [`lock_pair`] does. If not, its
/// triggers must have no gate.
pub(crate) fn probe_sql() -> String {
    // The probe is longer than one block of the hash, with a remainder, and goes beyond ASCII: an
    // encoding other than UTF-8 gives other bytes.
    const PROBE: &str = "latido:la señora del café";
    let expected = hash_text(PROBE.as_bytes(), 0).cast_signed();
    format!(
        "SELECT {} OPERATOR(pg_catalog.=) {expected}",
        hash_sql(&format!("'{PROBE}'"))
    )
}

/// Computes Postgres's `hashtextextended(text, seed)` on a little-endian machine: Bob Jenkins's
/// lookup3 (<https://burtleburtle.net/bob/c/lookup3.c>, public domain), with the start and end of
/// `hash_bytes_extended` in PostgreSQL's `src/common/hashfn.c`.
fn hash_text(bytes: &[u8], seed: u64) -> u64 {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let start = 0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095);
    let [mut a, mut b, mut c] = [start; 3];
    if seed != 0 {
        a = a.wrapping_add(u32::try_from(seed >> 32).unwrap_or_default());
        b = b.wrapping_add(u32::try_from(seed & u64::from(u32::MAX)).unwrap_or_default());
        [a, b, c] = mix(a, b, c);
    }
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        a = a.wrapping_add(read_word(&block[..4]));
        b = b.wrapping_add(read_word(&block[4..8]));
        c = c.wrapping_add(read_word(&block[8..]));
        [a, b, c] = mix(a, b, c);
    }
    let rest = blocks.remainder();
    a = a.wrapping_add(read_word(rest.get(..4).unwrap_or(rest)));
    b = b.wrapping_add(
        rest.get(4..)
            .map_or(0, |rest| read_word(rest.get(..4).unwrap_or(rest))),
    );
    // The lowest byte of `c` is left out: it is reserved for the length.
    c = c.wrapping_add(rest.get(8..).map_or(0, |rest| read_word(rest) << 8));
    let [b, c] = final_mix(a, b, c);
    (u64::from(b) << 32) | u64::from(c)
}

/// Reads up to four bytes as a little-endian number.
fn read_word(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

/// Computes the step `mix` of lookup3.
fn mix(mut a: u32, mut b: u32, mut c: u32) -> [u32; 3] {
    for (first, second) in [(4, 6), (16, 19)] {
        let third = if first == 4 { 8 } else { 4 };
        a = a.wrapping_sub(c) ^ c.rotate_left(first);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(second);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(third);
        b = b.wrapping_add(a);
    }
    [a, b, c]
}

/// Computes the step `final` of lookup3. Postgres uses the last two of its three words.
fn final_mix(mut a: u32, mut b: u32, mut c: u32) -> [u32; 2] {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    [b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results of PostgreSQL 15 for every prefix of a text, in which every length of the last
    /// block occurs twice.
    #[test]
    fn hash_equals_that_of_postgres() {
        const TEXT: &str = "estadísticas:0123456789abcdef";
        const EXPECTED: [i64; 27] = [
            -6939563903564495251,
            -7651102791152628254,
            -8457946161621341041,
            -6736534264826094888,
            120051121777661062,
            6832061574080239782,
            1387229210662588954,
            2472090327367899301,
            -76406637459783759,
            -3832734151673434265,
            -3945507904932355980,
            3087942224904123611,
            527039413770740522,
            -7849509679398342424,
            -1549876565504284089,
            1745505363700206772,
            1735987487761190630,
            -8757246913408110876,
            -6440305561373352434,
            5716286408205323722,
            -5137111232572158425,
            4143300717652417836,
            6080359558875864232,
            955841368980939572,
            -870971732342144533,
            2379025827367464818,
            4059326459689726440,
        ];
        let ends = TEXT.char_indices().map(|(at, _)| at);
        for (end, expected) in ends.zip(EXPECTED) {
            assert_eq!(
                hash_text(&TEXT.as_bytes()[..end], 0).cast_signed(),
                expected,
                "{}",
                &TEXT[..end]
            );
        }
    }

    /// As PostgreSQL 15 computes them, with the hash of each part as the seed of the next.
    #[test]
    fn locks_of_a_key_depend_on_each_part_in_its_place() {
        assert_eq!(lock_pair("totales", []), [538, 1543]);
        assert_eq!(lock_pair("cajas", ["7", "c/1"]), [795, 1032]);
        assert_eq!(
            lock_pair("cajas", ["7", "ñandú", "2026-11-30"]),
            [790, 1998]
        );
    }

    #[test]
    fn two_locks_of_a_key_always_differ() {
        for n in 0..10_000 {
            let [first, second] = lock_pair("estadisticas", [n.to_string().as_str()]);
            assert!(first < BUCKETS && (BUCKETS..LOCK_COUNT).contains(&second));
        }
    }

    #[test]
    fn gate_locks_are_whole_blocks_beside_the_locks_of_keys() {
        for n in 0..100 {
            let locks = gate_locks(&n.to_string());
            assert!(locks.start >= LOCK_COUNT && locks.len() == usize::from(GATE_SLOTS));
            for lock in locks.clone() {
                assert_eq!(gate_of_lock(lock), Some(locks.start));
            }
        }
        assert_eq!(gate_of_lock(0), None);
        assert_eq!(gate_of_lock(LOCK_COUNT - 1), None);
    }
}
