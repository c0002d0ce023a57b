//! Which advisory locks stand for a key. What the triggers do and what the server does about it stand side by side here: they must agree.

/// The first half of our advisory locks' two-part keys: `lato` in ASCII.
pub(in crate::postgres) const CLASS: i32 = 0x6c61_746f;
/// How many buckets each of a key's two hashes has; a power of two. Enough that two businesses seldom share both; few enough that all locks
/// together are a small part of the server's lock table, however many keys are watched or written.
pub(super) const BUCKETS: u16 = 1024;
/// How many locks there are: the second hash has buckets of its own.
pub(in crate::postgres) const LOCKS: u16 = 2 * BUCKETS;

/// The two locks of a key, never the same: the lowest bits of the two halves of the hash of `stream:key`, the second behind the first.
pub(super) fn locks(stream: &str, key: &str) -> [u16; 2] {
    let hash = hash(format!("{stream}:{key}").as_bytes());
    let bucket = |bits: u64| u16::try_from(bits % u64::from(BUCKETS)).unwrap_or_default();
    [bucket(hash), BUCKETS + bucket(hash >> 32)]
}

/// The hash of a text expression, in SQL. Postgres's own is a tenth of what SHA-256 costs a writer, and it hashes partitions by it, so it
/// does not change. It depends on collation, encoding and byte order: the first is fixed here, the others are what [`probe_sql`] asks.
pub(in crate::postgres) fn hash_sql(text: &str) -> String {
    format!("pg_catalog.hashtextextended(({text}) COLLATE pg_catalog.\"C\", 0)")
}

/// SQL that tries for the first lock of a key with this hash, and says whether it was free.
pub(in crate::postgres) fn try_first_sql(hash: &str) -> String {
    format!(
        "pg_catalog.pg_try_advisory_xact_lock({CLASS}, ({hash} & {})::int)",
        BUCKETS - 1
    )
}

/// The same for the second lock.
pub(in crate::postgres) fn try_second_sql(hash: &str) -> String {
    format!(
        "pg_catalog.pg_try_advisory_xact_lock({CLASS}, (({hash} >> 32) & {})::int + {BUCKETS})",
        BUCKETS - 1
    )
}

/// SQL whose only value says whether the database hashes as [`locks`] does. Without that its triggers must have no gate.
pub(in crate::postgres) fn probe_sql() -> String {
    // Longer than what is mixed at once, with a rest, and beyond ASCII: another encoding than UTF-8 gives other bytes.
    const PROBE: &str = "latido:la señora del café";
    let expected = hash(PROBE.as_bytes()).cast_signed();
    format!("SELECT {} = {expected}", hash_sql(&format!("'{PROBE}'")))
}

/// Postgres's `hashtextextended(text, 0)` on a little-endian machine: Bob Jenkins's lookup3 (<https://burtleburtle.net/bob/c/lookup3.c>, public
/// domain) as `hash_bytes_extended` of PostgreSQL's `src/common/hashfn.c` begins and ends it.
fn hash(bytes: &[u8]) -> u64 {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let start = 0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095);
    let [mut a, mut b, mut c] = [start; 3];
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        a = a.wrapping_add(word(&block[..4]));
        b = b.wrapping_add(word(&block[4..8]));
        c = c.wrapping_add(word(&block[8..]));
        [a, b, c] = mix(a, b, c);
    }
    let rest = blocks.remainder();
    a = a.wrapping_add(word(rest.get(..4).unwrap_or(rest)));
    b = b.wrapping_add(
        rest.get(4..)
            .map_or(0, |rest| word(rest.get(..4).unwrap_or(rest))),
    );
    // The lowest byte of `c` is left out: it stands for the length.
    c = c.wrapping_add(rest.get(8..).map_or(0, |rest| word(rest) << 8));
    let [b, c] = finish(a, b, c);
    (u64::from(b) << 32) | u64::from(c)
}

/// At most four bytes, the first lowest.
fn word(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

/// lookup3's `mix`.
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

/// lookup3's `final`; of its three words Postgres takes the last two.
fn finish(mut a: u32, mut b: u32, mut c: u32) -> [u32; 2] {
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

    /// What PostgreSQL 15 says of every beginning of a text, in which every length of the last block occurs twice.
    #[test]
    fn the_hash_is_that_of_postgres() {
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
                hash(&TEXT.as_bytes()[..end]).cast_signed(),
                expected,
                "{}",
                &TEXT[..end]
            );
        }
    }

    #[test]
    fn a_keys_two_locks_are_never_one() {
        for n in 0..10_000 {
            let [first, second] = locks("estadisticas", &n.to_string());
            assert!(first < BUCKETS && (BUCKETS..LOCKS).contains(&second));
        }
    }
}
