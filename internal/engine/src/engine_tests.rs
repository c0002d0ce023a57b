//! Tests of the entry point: what each hint makes of the keys.

use std::time::Instant;

use super::*;
use latido_stream::{KeyRoute, SourceTable, Stream};

/// Writers that always notify.
struct NoLocks;

impl Interest for NoLocks {
    fn watch(&self, _: &Topic) -> NotifyState {
        NotifyState::Enabled
    }

    fn unwatch(&self, _: &Topic) {}

    fn release_for_polling(&self, _: &Topic) -> bool {
        false
    }
}

/// Returns the engine of a stream that looks keys up and has an interval of its own, and of one
/// without either.
fn engine() -> Engine {
    let lookup = SourceTable {
        name: "lineas".to_owned(),
        route: KeyRoute::Lookup(String::new()),
        columns: Vec::new(),
    };
    let unidades = Stream {
        tables: vec![lookup],
        interval: Some(Duration::from_secs(3)),
        ..Stream::test_stream("unidades", None)
    };
    let catalog = Catalog::new(vec![unidades, Stream::test_stream("citas", None)]);
    let metrics = Arc::new(Metrics::new());
    Engine::new(&Config::default(), &catalog, Arc::new(NoLocks), metrics)
}

fn topic(stream: u16, key: &str) -> Topic {
    Topic {
        stream: StreamId(stream),
        key: Key::from_canonical(key),
    }
}

#[test]
fn stream_has_its_own_interval() {
    let engine = engine();
    let interval = |stream| engine.lock().dirty.pacing(StreamId(stream)).min_interval;
    assert_eq!(interval(0), Duration::from_secs(3));
    assert_eq!(interval(1), Config::default().pacing.min_interval);
}

#[test]
fn keys_wait_for_transactions_after_each_hint_of_a_move() {
    let engine = engine();
    // All transactions have ended.
    let settle = || {
        let mut state = engine.lock();
        state.moved.start_query();
        state.moved.finish_query(Some(Vec::new()), Instant::now());
    };
    for key in ["7", "8"] {
        engine.on_watched(&topic(0, key));
    }
    engine.on_watched(&topic(1, "7"));
    assert_eq!(engine.moved_keys(), 2, "nothing was recorded before");
    settle();
    let moved = |stream, keys: Option<&[&str]>| ChangeHint::Moved {
        stream: StreamId(stream),
        keys: keys.map(|keys| keys.iter().map(|key| Key::from_canonical(key)).collect()),
    };
    for (hint, waiting) in [
        (moved(0, Some(&["7"])), 1),
        (moved(0, None), 2),
        (moved(1, None), 0),
        (ChangeHint::Listening, 2),
    ] {
        engine.on_hint(&hint);
        assert_eq!(engine.moved_keys(), waiting, "{hint:?}");
        settle();
        assert_eq!(engine.moved_keys(), 0, "{hint:?}");
    }
    // Moves were not notified before.
    engine.on_watch_locks(&WatchLockEvent::MovesNotified(vec![StreamId(0)]));
    assert_eq!(engine.moved_keys(), 2);
}
