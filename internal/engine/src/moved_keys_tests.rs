//! Tests of the moved keys.

use latido_base::ident::Key;
use latido_stream::{KeyRoute, SourceTable, Stream};

use super::*;

const STREAM: StreamId = StreamId(1);

fn key(key: &str) -> Topic {
    Topic {
        stream: STREAM,
        key: Key::from_canonical(key),
    }
}

fn transactions(names: &[&str]) -> Option<Vec<OpenTransaction>> {
    let transaction = |name: &&str| OpenTransaction {
        id: (*name).into(),
        is_prepared: name.starts_with('-'),
    };
    Some(names.iter().map(transaction).collect())
}

fn keys(names: &[&str]) -> Moved {
    let keys = names.iter().map(|name| key(name)).collect();
    Moved::from([(STREAM, MovedOfStream::Keys(keys))])
}

fn every_key() -> Moved {
    Moved::from([(STREAM, MovedOfStream::Every)])
}

/// Returns the moved keys of two streams, of which the second looks keys up and has a viewer. The
/// move of every key that its first viewer means is over.
fn watched(now: Instant) -> MovedKeys {
    let mut stream = Stream::test_stream("ventas", None);
    stream.tables = vec![SourceTable {
        name: "lineas".to_owned(),
        route: KeyRoute::Lookup("SELECT 1 FROM changed".to_owned()),
        columns: Vec::new(),
    }];
    let catalog = Catalog::new(vec![Stream::test_stream("estadisticas", None), stream]);
    let mut moved = MovedKeys::default();
    moved.add_streams(&catalog, 0);
    moved.watch(&key("0"), now);
    assert_eq!(query(&mut moved, &[], now), every_key());
    moved
}

/// Runs the query that is due, and returns the keys to read.
fn query(moved: &mut MovedKeys, open: &[&str], now: Instant) -> Moved {
    assert!(
        moved.next_query().is_some_and(|at| at <= now),
        "a query is due"
    );
    moved.start_query();
    assert_eq!(moved.next_query(), None, "one at a time");
    moved.finish_query(transactions(open), now)
}

#[test]
fn key_is_read_when_the_transactions_of_its_move_have_ended() {
    let mut now = Instant::now();
    let mut moved = watched(now);
    now += SHORTEST_PAUSE;
    moved.add(&key("7"), now);
    assert_eq!(query(&mut moved, &["1/1", "2/1"], now), Moved::new());
    assert!(moved.is_waiting(&key("7")) && !moved.is_waiting(&key("8")));
    now += SHORTEST_PAUSE;
    moved.add(&key("8"), now);
    assert_eq!(query(&mut moved, &["2/1", "3/1"], now), Moved::new());
    assert_eq!(moved.waiting_keys(), 2);
    now += SHORTEST_PAUSE;
    let due = query(&mut moved, &["3/1", "4/1"], now);
    assert_eq!(due, keys(&["7"]), "later transactions do not matter");
    now += SHORTEST_PAUSE;
    assert_eq!(query(&mut moved, &["4/1"], now), keys(&["8"]));
    assert_eq!((moved.waiting_keys(), moved.next_query()), (0, None));
}

#[test]
fn move_during_a_query_waits_for_the_next_one() {
    let now = Instant::now() + LONGEST_PAUSE;
    let mut moved = watched(now);
    moved.add(&key("7"), now + SHORTEST_PAUSE);
    moved.start_query();
    moved.add(&key("8"), now + SHORTEST_PAUSE);
    let due = moved.finish_query(transactions(&[]), now + SHORTEST_PAUSE);
    assert_eq!(due, keys(&["7"]));
    let due = query(&mut moved, &[], now + 2 * SHORTEST_PAUSE);
    assert_eq!(due, keys(&["8"]));
}

#[test]
fn transaction_that_is_prepared_goes_on_under_another_name() {
    let mut now = Instant::now();
    let mut moved = watched(now);
    now += SHORTEST_PAUSE;
    moved.add(&key("7"), now);
    let mut next = |open: &[&str]| {
        let due = query(&mut moved, open, now);
        now += LONGEST_PAUSE;
        due
    };
    assert_eq!(next(&["1/1", "-1/5"]), Moved::new());
    assert_eq!(next(&["1/1"]), Moved::new());
    assert_eq!(next(&["-1/6"]), Moved::new(), "it may be the prepared one");
    assert_eq!(next(&["-1/6", "-1/7"]), Moved::new());
    assert_eq!(next(&["-1/7", "-1/8"]), keys(&["7"]), "these are others");
}

#[test]
fn failed_query_is_repeated_with_growing_pauses() {
    let mut now = Instant::now();
    let mut moved = watched(now);
    now += SHORTEST_PAUSE;
    moved.add(&key("7"), now);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        moved.start_query();
        assert_eq!(moved.finish_query(None, now), Moved::new());
        moved.add(&key("8"), now);
        let next = moved.next_query().unwrap();
        pauses.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
    moved.unwatch(&key("0"));
    assert_eq!(moved.next_query(), None, "forgotten");
    moved.watch(&key("0"), now);
    assert_eq!(moved.next_query(), Some(now), "the last query was long ago");
    assert_eq!(query(&mut moved, &[], now), every_key());
}

#[test]
fn pauses_grow_while_nothing_ends_and_a_new_move_is_looked_at_soon() {
    let mut now = Instant::now();
    let mut moved = watched(now);
    now += SHORTEST_PAUSE;
    moved.add(&key("7"), now);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        query(&mut moved, &["1/1"], now);
        let next = moved.next_query().unwrap();
        pauses.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000]);
    query(&mut moved, &["1/1"], now);
    moved.add(&key("8"), now);
    assert_eq!(moved.next_query(), Some(now + SHORTEST_PAUSE));
}

#[test]
fn moves_of_a_stream_without_viewers_do_not_matter() {
    let now = Instant::now();
    let mut moved = watched(now);
    let of_other_stream = Topic {
        stream: StreamId(0),
        key: Key::from_canonical("7"),
    };
    moved.watch(&of_other_stream, now);
    moved.add(&of_other_stream, now);
    assert_eq!((moved.waiting_keys(), moved.next_query()), (0, None));
    moved.watch(&key("1"), now);
    assert_eq!(
        moved.next_query(),
        None,
        "only the first viewer means every key"
    );
    moved.add(&key("7"), now);
    query(&mut moved, &["1/1"], now + SHORTEST_PAUSE);
    moved.unwatch(&key("0"));
    assert!(moved.next_query().is_some());
    moved.unwatch(&key("1"));
    moved.add_everything(now);
    assert_eq!((moved.waiting_keys(), moved.next_query()), (0, None));
    moved.watch(&key("1"), now);
    assert_eq!(query(&mut moved, &[], now + LONGEST_PAUSE), every_key());
}

#[test]
fn memory_is_bounded() {
    let mut now = Instant::now();
    let mut moved = watched(now);
    for n in 0..=MAX_MOVED_KEYS {
        moved.add(&key(&n.to_string()), now);
    }
    assert!(moved.is_waiting(&key("any")), "too many to name");
    let mut names: Vec<String> = Vec::new();
    for n in 0..100 {
        // A transaction of each generation stays open.
        names.push(format!("{n}/1"));
        now += LONGEST_PAUSE;
        moved.add(&key("7"), now);
        let open: Vec<_> = names.iter().map(String::as_str).collect();
        query(&mut moved, &open, now);
        now += LONGEST_PAUSE;
        query(&mut moved, &open, now);
        assert!(moved.generations.len() <= MAX_GENERATIONS);
    }
    now += LONGEST_PAUSE;
    assert_eq!(query(&mut moved, &["99/1"], now), every_key());
    assert!(moved.generations.is_empty() && moved.is_waiting(&key("7")));
    now += LONGEST_PAUSE;
    assert_eq!(query(&mut moved, &["99/1"], now), Moved::new());
    now += LONGEST_PAUSE;
    assert_eq!(query(&mut moved, &[], now), keys(&["7"]));
}
