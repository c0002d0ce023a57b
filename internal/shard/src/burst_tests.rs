//! Many clients that need service at the same moment, and clients that send without reading: the
//! effect on other clients.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::command::ShardCommand;
use crate::test_shard::{BURST, FRAME_BYTES, TestShard, subscription};
use latido_admission::SEND_BUFFER_BYTES;
use latido_protocol::websocket::Chunk;

#[test]
fn a_frame_waits_for_few_disconnecting_clients() {
    let mut shard = TestShard::new();
    let clients = shard.connect_many();
    shard.tick();
    shard.publish();
    drop(clients);
    shard.tick();
    shard.assert_viewer_served_meanwhile();
    assert_eq!(
        shard.permits.available_permits(),
        BURST,
        "the clients are removed at once"
    );
    assert!(
        shard.worker.slots_in_use() > 1,
        "their sockets are closed later"
    );
    shard.tick_until_viewer_alone();
}

#[test]
fn every_closing_client_gets_a_close_reply_despite_later_input() {
    const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8];
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    let mut shard = TestShard::new();
    let mut clients = shard.connect_many();
    shard.tick();
    let mut received = Vec::new();
    for client in &mut clients {
        // The response to the subscription; it is not examined.
        let _unread: io::Result<usize> = client.read(&mut [0; 4096]);
        client.write_all(&CLOSE).unwrap();
    }
    shard.tick();
    clients
        .iter_mut()
        .for_each(|client| client.write_all(&PING).unwrap_or_default());
    shard.tick_until_viewer_alone();
    for client in &mut clients {
        received.clear();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, [0x88, 0x02, 0x03, 0xE8]);
    }
}

#[test]
fn a_single_disconnect_is_closed_in_the_same_tick() {
    let mut shard = TestShard::new();
    let client = shard.connect(1);
    shard.tick();
    drop(client);
    shard.tick();
    assert_eq!(shard.worker.slots_in_use(), 1);
}

#[test]
fn shutdown_does_not_wait_for_the_close_queue() {
    let mut shard = TestShard::new();
    let clients = shard.connect_many();
    shard.tick();
    drop(clients);
    *shard.probe.viewer.lock().unwrap() = None;
    shard.tick();
    assert!(shard.worker.slots_in_use() > 0, "some are still open");
    shard
        .worker
        .inbox
        .put(ShardCommand::Shutdown { spread_ms: 0 });
    shard.tick();
    assert!(shard.worker.is_stopping);
}

#[test]
fn the_close_queue_can_be_emptied_for_descriptors() {
    let mut shard = TestShard::new();
    let clients = shard.connect_many();
    shard.tick();
    drop(clients);
    shard.tick();
    assert!(shard.worker.close_all(), "some were still open");
    assert_eq!(shard.worker.slots_in_use(), 1);
    assert!(!shard.worker.close_all());
}

#[test]
fn a_frame_waits_for_few_connecting_clients() {
    let mut shard = TestShard::new();
    shard.publish();
    let _clients = shard.connect_many();
    shard.tick();
    shard.assert_viewer_served_meanwhile();
    assert_eq!(shard.worker.slots_in_use(), 1 + BURST);
}

/// Returns the bytes kept for single clients.
fn kept_bytes(shard: &TestShard) -> usize {
    let clients = shard.worker.connections.clients.iter().flatten();
    clients
        .filter_map(|client| client.outbox.as_ref())
        .map(|outbox| outbox.kept_bytes())
        .sum()
}

/// Reads everything that is available.
fn read(socket: &mut UnixStream) -> String {
    let (mut all, mut buffer) = (Vec::new(), [0; 64 * 1024]);
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn repeated_requests_without_reading_keep_one_frame() {
    const REQUESTS: usize = 150;
    /// An upper bound of a response's size, in bytes.
    const RESPONSE_BYTES: usize = 100;
    let mut shard = TestShard::new();
    let mut slow = shard.connect(1);
    shard.tick();
    for turn in 1.. {
        shard.change(1, turn);
        shard.tick();
        if shard
            .worker
            .connections
            .clients
            .iter()
            .flatten()
            .any(|client| client.outbox.is_some())
        {
            break;
        }
    }
    let mut requests: Vec<u8> = (0..REQUESTS).flat_map(|_| subscription(1)).collect();
    // The requests arrived together, and were read before the client's socket was full.
    shard.worker.with_client(1, |worker, client| {
        worker.feed(1, client, &mut Chunk::new(&mut requests))
    });
    assert!(
        kept_bytes(&shard) < REQUESTS * RESPONSE_BYTES + FRAME_BYTES,
        "{} bytes are kept",
        kept_bytes(&shard)
    );
    shard.change(1, 1_000_000);
    let mut all = String::new();
    for _ in 0..100 {
        all.push_str(&read(&mut slow));
        shard.tick();
    }
    let (answers, newest) = (
        all.matches("subscribed").count(),
        all.matches("1000000").count(),
    );
    assert_eq!(
        (answers, newest),
        (1 + REQUESTS, 1),
        "every request has its response, and the newest frame comes once"
    );
}

#[test]
fn a_slow_client_of_many_rooms_keeps_bounded_bytes() {
    let mut shard = TestShard::new();
    let mut slow = shard.connect(1);
    for key in 2..=50 {
        io::Write::write_all(&mut slow, &subscription(key)).unwrap();
    }
    shard.tick();
    shard.tick();
    for turn in 1..20 {
        for key in 1..=50 {
            shard.change(key, turn);
        }
        shard.tick();
    }
    let mut all = String::new();
    for _ in 0..200 {
        assert!(
            kept_bytes(&shard) <= 2 * (SEND_BUFFER_BYTES + 2 * FRAME_BYTES),
            "{} bytes are kept",
            kept_bytes(&shard)
        );
        all.push_str(&read(&mut slow));
        shard.tick();
    }
    assert_eq!(
        all.matches("\"turn\":19").count(),
        50,
        "the newest of each, once"
    );
}
