//! The shutdown of a shard: it closes its clients in batches.

use crate::client::ConnectionState;
use crate::drain_schedule::DRAIN_INTERVAL;
use crate::worker::ShardWorker;
use latido_base::clock::monotonic_now;
use latido_session::CloseReason;

impl ShardWorker {
    /// Closes the next batch of clients. The shard ends when all have left.
    pub(super) fn drain_step(&mut self) {
        let Some(mut schedule) = self.shutdown.take() else {
            return;
        };
        if monotonic_now() >= schedule.next_batch_at {
            let mut closed = 0;
            while closed < schedule.batch
                && (schedule.next_slot as usize) < self.connections.clients.len()
            {
                let slot = schedule.next_slot;
                schedule.next_slot += 1;
                self.with_client(slot, |worker, client| {
                    if client.state == ConnectionState::Open {
                        closed += 1;
                        worker.call_handler(slot, client, |handler, _, actions| {
                            handler.on_shutdown(actions)
                        });
                        worker.close(slot, client, CloseReason::Restarting);
                    }
                });
                self.yield_to_broadcasts();
            }
            if schedule.next_slot as usize >= self.connections.clients.len() {
                // A connection whose upgrade was in progress when the shutdown began may still
                // arrive in a slot that was passed.
                schedule.next_slot = 0;
            }
            schedule.next_batch_at = monotonic_now() + DRAIN_INTERVAL;
        }
        // Sockets that only wait to be closed need no more batches; they are closed together when
        // the shard ends.
        self.is_stopping |= self.slots_in_use() == self.connections.close_queue.len();
        self.shutdown = Some(schedule);
    }
}
