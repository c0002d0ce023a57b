//! The bounded run on stable Rust: first the seeds unchanged, then mutations of them.
//!
//! `FUZZ_SECONDS=60 cargo test --lib fuzz` runs longer, and `FUZZ_SEED=…` repeats a run. A failing
//! input is written to `target/fuzz/`, from where it can be replayed as a seed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::TARGETS;

/// The maximum length of an input, in bytes.
const MAX_INPUT_BYTES: usize = 4096;
/// Byte sequences that parsers branch on; random mutation would hardly find them.
const PARSER_TOKENS: [&[u8]; 14] = [
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\"",
    b"\\u0000",
    b"null",
    b"{",
    b"]",
    b"\n",
    b"-1",
    b"9223372036854775808",
    b"1e999",
    b"..",
];

fn package_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn env_number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = package_root().join("fuzz/seeds").join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Applies one to eight small changes to an input.
fn mutate(random: &mut fastrand::Rng, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..random.usize(1..=8) {
        let at = random.usize(..=input.len());
        match random.u8(..7) {
            0 if at < input.len() => input[at] = random.u8(..),
            1 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            2 => input.insert(at, random.u8(..)),
            3 if at < input.len() => drop(input.remove(at)),
            4 => drop(input.splice(
                at..at,
                random.choice(PARSER_TOKENS).unwrap().iter().copied(),
            )),
            5 => input.truncate(at),
            _ => {
                let from = random.usize(..=other.len());
                let piece = &other[from..random.usize(from..=other.len())];
                drop(input.splice(at..at, piece.iter().copied()));
            }
        }
        input.truncate(MAX_INPUT_BYTES);
    }
}

fn run(name: &str, target: fn(&[u8]), seed: u64) {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let check = |input: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
            let file = package_root()
                .join("target/fuzz")
                .join(format!("{name}-{seed:x}"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, input).unwrap();
            panic!(
                "{name} fails for {} (FUZZ_SEED={seed}): {}",
                file.display(),
                String::from_utf8_lossy(input)
            );
        }
    };
    seeds.iter().for_each(|input| check(input));
    let mut random = fastrand::Rng::with_seed(seed);
    let end = Instant::now() + Duration::from_secs(env_number("FUZZ_SECONDS", 2));
    while Instant::now() < end {
        for _ in 0..64 {
            let mut input = random.choice(&seeds).unwrap().clone();
            let other = random.choice(&seeds).unwrap();
            mutate(&mut random, &mut input, other);
            check(&input);
        }
    }
}

#[test]
fn every_target_passes_a_bounded_run() {
    let seed = env_number("FUZZ_SEED", fastrand::u64(..));
    std::thread::scope(|scope| {
        for (name, target) in TARGETS {
            // An exhausted stack ends the process, and only the thread's name tells which run it was.
            std::thread::Builder::new()
                .name(format!("{name} FUZZ_SEED={seed}"))
                .spawn_scoped(scope, move || run(name, *target, seed))
                .expect("a thread");
        }
    });
}
