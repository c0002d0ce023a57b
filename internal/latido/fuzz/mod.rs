//! The fuzz targets: functions of untrusted bytes that panic if a guarantee does not hold.
//!
//! They are compiled only for tests and fuzzers. `cargo +nightly fuzz run <name>` runs them without
//! a time limit (see `fuzz/`); on stable, a unit test runs mutations of the seeds for a limited
//! time.

#[cfg(test)]
mod bounded;
mod frame_rate;
#[cfg(feature = "socketio")]
mod socketio;
mod tree;

pub use frame_rate::frame_rate;
pub use latido_http::fuzz_head_scanner as heads;
#[cfg(feature = "socketio")]
pub use socketio::{engineio, socketio};
pub use tree::tree;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::config::{ConfigErrors, parse_streams};
use latido_auth::{
    Grants, PermissionFuture, PermissionQuestion, PermissionSource, Policy, PolicyConfig,
    Principal, Secret, Verifier, VerifierConfig, sign_raw,
};
use latido_base::clock::Clock;
use latido_base::ident::UserId;
use latido_postgres::parse_hints;
use latido_protocol::native;
use latido_protocol::websocket::{Chunk, FrameReader, ProtocolError, WsMessage};
use latido_session::{Session, SessionContext, SessionEffect, SessionLimits};
use latido_stream::{Catalog, EnumLabels, KeyType, LowerCase, Stream};

/// The name of a target, which is also its seed folder's name, and its function.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All fuzz targets, with their names.
pub const TARGETS: &[FuzzTarget] = &[
    ("frames", frames),
    ("frame_rate", frame_rate),
    ("heads", heads),
    ("messages", messages),
    ("hook", hook),
    ("token", token),
    ("notice", notice),
    ("streams", streams),
    ("tree", tree),
    #[cfg(feature = "app-messaging")]
    ("phoenix", phoenix),
    #[cfg(feature = "socketio")]
    ("engineio", engineio),
    #[cfg(feature = "socketio")]
    ("socketio", socketio),
];

const SECRET: &str = "a secret of the fuzzer, of more than 32 bytes";
const MESSAGE_BYTES: u32 = 512;
const CHANNELS: usize = 3;
/// The memory that a frame reader may use in addition to a message: the struct and a control frame.
const OVERHEAD_BYTES: usize = 300;

/// Reads WebSocket frames. However the bytes are split, the messages and the final error must be
/// the same, and memory stays bounded. The first byte determines the split.
pub fn frames(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let split = read_frames(bytes, usize::from(*size).max(1));
    assert_eq!(split, read_frames(bytes, usize::MAX));
}

fn read_frames(bytes: &[u8], size: usize) -> (Vec<String>, Option<ProtocolError>) {
    let (mut reader, mut messages) = (FrameReader::new(MESSAGE_BYTES), Vec::new());
    for piece in bytes.chunks(size) {
        let mut piece = piece.to_vec();
        let mut chunk = Chunk::new(&mut piece);
        loop {
            match reader.next(&mut chunk) {
                Ok(None) => break,
                Ok(Some(message)) => messages.push(check_and_format(&message)),
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(reader.memory_bytes() <= MESSAGE_BYTES as usize + OVERHEAD_BYTES);
    }
    (messages, None)
}

fn check_and_format(message: &WsMessage<'_>) -> String {
    match message {
        WsMessage::Text(text) => assert!(text.len() <= MESSAGE_BYTES as usize),
        WsMessage::Binary(bytes) => assert!(bytes.len() <= MESSAGE_BYTES as usize),
        WsMessage::Ping(payload) => assert!(payload.len() <= 125),
        WsMessage::Pong | WsMessage::Fragment | WsMessage::Close { .. } => {}
    }
    format!("{message:?}")
}

/// Runs a native session with one message per line. The number of channels must stay within the
/// limit, and only the rate limit may end the session.
pub fn messages(bytes: &[u8]) {
    static CONTEXT: LazyLock<SessionContext> = LazyLock::new(session_context);
    let limits = &CONTEXT.limits;
    let principal = Principal::new(UserId::new("fuzz-user"), i64::MAX, None, Grants::default());
    let mut session = Session::new(Arc::new(principal), limits, 0);
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Err(error) = native::decode(line) {
            assert!(!error.to_string().is_empty());
        }
        let effect = session.on_text(line, &CONTEXT);
        assert!(!matches!(effect, SessionEffect::Close(_)), "{line}");
        assert!(session.channels().len() <= CHANNELS);
    }
}

fn session_context() -> SessionContext {
    let policy = Policy::new(PolicyConfig::default(), Arc::new(DenyAllPermissions));
    let limits = SessionLimits {
        channels: CHANNELS,
        ..SessionLimits::default()
    };
    SessionContext {
        catalog: catalog(),
        policy: Arc::new(policy),
        limits,
    }
}

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![
        Stream::test_stream("estadisticas", Some(KeyType::Uuid)),
        Stream::test_stream("ventas", Some(KeyType::Integer)),
    ]))
}

struct DenyAllPermissions;

impl PermissionSource for DenyAllPermissions {
    fn allowed<'a>(&'a self, _: &'a Stream, _: PermissionQuestion<'a>) -> PermissionFuture<'a> {
        Box::pin(async { Ok(false) })
    }
}

/// Parses the body of a hook request: the result is a key of the stream's type, or an error
/// message.
pub fn hook(bytes: &[u8]) {
    let lower_case = [('A', Some("a".to_owned())), ('Σ', None)];
    let citext = KeyType::CaseInsensitive(LowerCase::new(lower_case));
    for types in [
        &[KeyType::Uuid][..],
        &[KeyType::Integer],
        &[KeyType::Numeric],
        &[KeyType::Text],
        &[KeyType::Padded],
        std::slice::from_ref(&citext),
        &[KeyType::Date],
        &[KeyType::Boolean],
        &[KeyType::Enum(EnumLabels::new(["a", "b"]))],
        &[KeyType::Integer, KeyType::Text],
        &[citext.clone(), KeyType::Numeric],
        &[],
    ] {
        let fields = ["negocio_id", "caja"].map(str::to_owned);
        let stream = Stream {
            key_fields: fields.into_iter().take(types.len()).collect(),
            ..Stream::test_stream("estadisticas", None)
        };
        match latido_http::parse_hint(bytes, &stream, types) {
            Ok(key) => assert_eq!(
                stream.parse_key(types, &stream.write_key(&key)).ok(),
                Some(key),
                "a canonical key parses to itself"
            ),
            Err(error) => assert!(error.to_string().contains("expected ")),
        }
    }
}

/// Verifies the bytes as a token, as a token's header, and as claims with a valid signature. Only
/// the last may be accepted, and then it must name a user and have an expiry.
pub fn token(bytes: &[u8]) {
    static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
        let config = VerifierConfig {
            secrets: vec![Secret::new(SECRET)],
            ..VerifierConfig::default()
        };
        Verifier::new(&config, Clock::system()).unwrap_or_else(|_| unreachable!("a long secret"))
    });
    let is_accepted = |token: &str| {
        VERIFIER
            .try_verify_cached(token)
            .is_some_and(|result| result.is_ok())
    };
    let (signed, with_header) = sign_raw(SECRET, bytes);
    assert!(!is_accepted(&with_header), "a header that was never signed");
    if let Some(Ok(principal)) = VERIFIER.try_verify_cached(&signed) {
        assert!(!principal.user().as_str().is_empty());
        assert!(principal.ends_at_s() > Clock::system().unix_s() - 2);
    }
    let raw_token = String::from_utf8_lossy(bytes);
    assert!(!is_accepted(&raw_token) || raw_token.split('.').count() == 3);
}

/// Parses the payload of a notification: any input yields change hints or nothing.
pub fn notice(bytes: &[u8]) {
    static CATALOG: LazyLock<Arc<Catalog>> = LazyLock::new(catalog);
    parse_hints(&CATALOG, &String::from_utf8_lossy(bytes));
}

/// Parses a `latido.toml`: the result is a list of errors, or streams whose names are valid in a
/// URL.
pub fn streams(bytes: &[u8]) {
    let mut errors = ConfigErrors::default();
    // The folder does not exist: queries are reported as missing, and no file on this machine is
    // opened.
    let path = Path::new("/nowhere/at/all/latido.toml");
    let text = String::from_utf8_lossy(bytes);
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let names = parse_streams(&text, path, &mut errors);
    if errors.is_empty() {
        for name in names.iter().flatten() {
            assert!(
                !name.is_empty() && name.len() <= 63 && name.is_ascii(),
                "{name}"
            );
        }
    } else {
        assert!(!errors.to_string().is_empty());
    }
}

/// Runs a Phoenix Channels connection with one frame per line; the first byte selects the version.
/// It must run one operation at a time, use bounded memory and never panic.
#[cfg(feature = "app-messaging")]
pub fn phoenix(bytes: &[u8]) {
    latido_app_messaging::fuzz_channel_session(bytes);
}
