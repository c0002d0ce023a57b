//! What strangers' bytes must not break, as functions of bytes: each panics where a promise does not hold.
//!
//! They are compiled for tests and for fuzzers alone. `cargo +nightly fuzz run <name>` drives them without end (see `fuzz/`); on stable a
//! bounded run with mutations of the seeds is one of the unit tests.

#[cfg(test)]
mod bounded;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::auth::{
    Grants, Lookup, LookupFuture, Policy, PolicyConfig, Principal, Secret, Verifier,
    VerifierConfig, sign_raw,
};
use crate::clock::Clock;
use crate::config::{Mistakes, parse_streams};
use crate::ident::{Key, UserId};
use crate::postgres::notices_of;
use crate::protocol::native;
use crate::session::{Context, Conversation, Effect, Limits};
use crate::stream::{Catalog, KeyType, Stream};
use crate::websocket::{Chunk, Message, ProtocolError, Reader};

/// A target and its name, which is also that of its seeds' folder.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("frames", frames),
    ("messages", messages),
    ("hook", hook),
    ("token", token),
    ("notice", notice),
    ("streams", streams),
    ("phoenix", phoenix),
];

const SECRET: &str = "a secret of the fuzzer, of more than 32 bytes";
const MESSAGE_BYTES: u32 = 512;
const CHANNELS: usize = 3;
/// What a reader may keep beside a message: the struct itself and a control frame.
const OVERHEAD_BYTES: usize = 300;

/// Frames as they come off a socket: however the bytes are cut, the same messages and the same end, and bounded memory. The first byte says
/// how they are cut.
pub fn frames(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let cut = read(bytes, usize::from(*size).max(1));
    assert_eq!(cut, read(bytes, usize::MAX));
}

fn read(bytes: &[u8], size: usize) -> (Vec<String>, Option<ProtocolError>) {
    let (mut reader, mut messages) = (Reader::new(MESSAGE_BYTES), Vec::new());
    for piece in bytes.chunks(size) {
        let mut piece = piece.to_vec();
        let mut chunk = Chunk::new(&mut piece);
        loop {
            match reader.next(&mut chunk) {
                Ok(None) => break,
                Ok(Some(message)) => messages.push(describe(&message)),
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(reader.memory_bytes() <= MESSAGE_BYTES as usize + OVERHEAD_BYTES);
    }
    (messages, None)
}

fn describe(message: &Message<'_>) -> String {
    match message {
        Message::Text(text) => assert!(text.len() <= MESSAGE_BYTES as usize),
        Message::Binary(bytes) => assert!(bytes.len() <= MESSAGE_BYTES as usize),
        Message::Ping(payload) => assert!(payload.len() <= 125),
        Message::Pong | Message::Close { .. } => {}
    }
    format!("{message:?}")
}

/// A conversation, one message a line: whatever is said, the channels held stay within their limit, and no message ends it but by rate.
pub fn messages(bytes: &[u8]) {
    static CONTEXT: LazyLock<Context> = LazyLock::new(context);
    let limits = &CONTEXT.limits;
    let principal = Principal::new(UserId::new("somebody"), i64::MAX, None, Grants::default());
    let mut conversation = Conversation::new(Arc::new(principal), limits, 0);
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Err(error) = native::decode(line) {
            assert!(!error.to_string().is_empty());
        }
        let effect = conversation.on_text(line, &CONTEXT);
        assert!(!matches!(effect, Effect::Close(_)), "{line}");
        assert!(conversation.channels().len() <= CHANNELS);
    }
}

fn context() -> Context {
    let policy = Policy::new(PolicyConfig::default(), Arc::new(Nobody));
    let limits = Limits {
        channels: CHANNELS,
        ..Limits::default()
    };
    Context {
        catalog: catalog(),
        policy: Arc::new(policy),
        limits,
    }
}

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![
        Stream::fake("estadisticas", Some(KeyType::Uuid)),
        Stream::fake("ventas", Some(KeyType::Integer)),
    ]))
}

struct Nobody;

impl Lookup for Nobody {
    fn allowed<'a>(&'a self, _: &'a Stream, _: &'a UserId, _: &'a Key) -> LookupFuture<'a> {
        Box::pin(async { Ok(false) })
    }
}

/// A hook's body: a key of the stream's type, or a mistake that is told.
pub fn hook(bytes: &[u8]) {
    let stream = Stream::fake("estadisticas", None);
    for key_type in [KeyType::Uuid, KeyType::Integer, KeyType::Text] {
        match crate::http::parse_hint(bytes, &stream, key_type) {
            Ok(key) => assert_eq!(
                key_type.parse(key.as_str(), stream.key_prefix()).ok(),
                Some(key),
                "a canonical key is itself"
            ),
            Err(problem) => assert!(problem.starts_with("expected ")),
        }
    }
}

/// A token as it comes; the same bytes as a header; and as claims behind a good signature. Only the last may open anything, and then for
/// somebody, and not for ever.
pub fn token(bytes: &[u8]) {
    static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
        let config = VerifierConfig {
            secrets: vec![Secret::new(SECRET)],
            ..VerifierConfig::default()
        };
        Verifier::new(&config, Clock::system()).unwrap_or_else(|_| unreachable!("a long secret"))
    });
    let opens = |token: &str| {
        VERIFIER
            .verify_now(token)
            .is_some_and(|verdict| verdict.is_ok())
    };
    let (signed, with_header) = sign_raw(SECRET, bytes);
    assert!(!opens(&with_header), "a header that was signed by nobody");
    if let Some(Ok(principal)) = VERIFIER.verify_now(&signed) {
        assert!(!principal.user().as_str().is_empty());
        assert!(principal.ends_at_s() > Clock::system().unix_s() - 2);
    }
    let as_it_is = String::from_utf8_lossy(bytes);
    assert!(!opens(&as_it_is) || as_it_is.split('.').count() == 3);
}

/// A notification's payload: whatever it is, it amounts to something to read, or to nothing.
pub fn notice(bytes: &[u8]) {
    static CATALOG: LazyLock<Arc<Catalog>> = LazyLock::new(catalog);
    notices_of(&CATALOG, &String::from_utf8_lossy(bytes));
}

/// A `latido.toml`: mistakes, or streams with names that can stand in an address.
pub fn streams(bytes: &[u8]) {
    let mut mistakes = Mistakes::default();
    // A folder that is not there: queries are found missing, and nothing on this machine is opened.
    let path = Path::new("/nowhere/at/all/latido.toml");
    let text = String::from_utf8_lossy(bytes);
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let names = parse_streams(&text, path, &mut mistakes);
    if mistakes.is_empty() {
        for name in names.iter().flatten() {
            assert!(
                !name.is_empty() && name.len() <= 63 && name.is_ascii(),
                "{name}"
            );
        }
    } else {
        assert!(!mistakes.to_string().is_empty());
    }
}

/// A socket of Phoenix Channels, one frame a line; the first byte says which version. One operation at a time, bounded memory, no panic.
pub fn phoenix(bytes: &[u8]) {
    crate::apps::messaging::exercise(bytes);
}
