//! The state of a shard. The other files of this crate implement what it does.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Poll;

use crate::async_requests::AsyncQueues;
use crate::broadcast_queue::BroadcastQueue;
use crate::command::ShardInbox;
use crate::connection_table::ConnectionTable;
use crate::deps::ShardDeps;
use crate::drain_schedule::DrainSchedule;
use crate::handler_state::BusConnection;
use crate::listener_registration::ListenerRegistration;
use crate::pending_slot::PendingSlot;
use crate::protocol_handler::InBandUpgrade;
use crate::replacement_walk::{ReplacementWalk, RetrySchedule};
use crate::rooms::ShardRooms;
use crate::timer_wheel::TimerWheel;
use crate::wake_timers::WakeTimers;
use latido_base::clock::monotonic_now;
use latido_hub::ShardFrames;

/// The size of the one read buffer of a shard.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// The state of a shard; see [`crate`].
pub(super) struct ShardWorker {
    pub(super) poll: Poll,
    pub(super) inbox: Arc<ShardInbox>,
    pub(super) frames: ShardFrames,
    pub(super) queues: AsyncQueues,
    pub(super) deps: ShardDeps,
    pub(super) connections: ConnectionTable,
    pub(super) listeners: Listeners,
    pub(super) rooms: ShardRooms,
    pub(super) handlers: Handlers,
    pub(super) scheduler: Scheduler,
    pub(super) clock: ShardClock,
    pub(super) buffers: Buffers,
    /// The schedule of the shutdown, once it has begun.
    pub(super) shutdown: Option<DrainSchedule>,
    pub(super) is_stopping: bool,
}

/// The connections that are not clients yet.
#[derive(Default)]
pub(super) struct Listeners {
    /// The listeners at which this shard accepts connections.
    pub(super) registered: Vec<ListenerRegistration>,
    /// The connections that occupy a slot but are not clients yet.
    pub(super) pending: HashMap<u32, Box<PendingSlot>>,
}

/// The shard's part in the protocols of apps.
#[derive(Default)]
pub(super) struct Handlers {
    /// The event buses with clients on this shard.
    pub(super) buses: Vec<BusConnection>,
    /// The in-band upgrades of native connections, one per listener that offers one.
    pub(super) in_band_upgrades: Vec<Arc<dyn InBandUpgrade>>,
}

/// The work in progress, which a tick continues.
#[derive(Default)]
pub(super) struct Scheduler {
    /// The rooms with a broadcast in progress.
    pub(super) broadcasts: BroadcastQueue,
    /// The clients with more to read than one turn allows.
    pub(super) readable: VecDeque<u32>,
    /// The clients served since the last delivery of frames.
    pub(super) served_in_a_row: usize,
    /// The walk over the clients, after streams were replaced.
    pub(super) replacement: Option<ReplacementWalk>,
    /// The next walk for subscriptions whose permission could not be looked up.
    pub(super) retries: RetrySchedule,
}

/// The shard's time, in whole seconds.
pub(super) struct ShardClock {
    pub(super) timers: TimerWheel,
    /// The timers of handlers that need more than whole seconds.
    pub(super) wakes: WakeTimers,
    pub(super) started: Instant,
    /// The whole seconds since `started`, as of this tick.
    pub(super) now_s: u32,
}

/// The buffers that all clients share.
pub(super) struct Buffers {
    pub(super) read: Vec<u8>,
    /// A buffer for frames of several rooms to one client.
    pub(super) scratch: Vec<u8>,
}

impl ShardWorker {
    pub(super) fn new(
        poll: Poll,
        inbox: Arc<ShardInbox>,
        frames: ShardFrames,
        queues: AsyncQueues,
        deps: ShardDeps,
    ) -> Self {
        Self {
            poll,
            inbox,
            frames,
            queues,
            deps,
            connections: ConnectionTable::default(),
            listeners: Listeners::default(),
            rooms: ShardRooms::default(),
            handlers: Handlers::default(),
            scheduler: Scheduler::default(),
            clock: ShardClock {
                timers: TimerWheel::new(),
                wakes: WakeTimers::default(),
                started: monotonic_now(),
                now_s: 0,
            },
            buffers: Buffers {
                read: vec![0; READ_BUFFER_BYTES],
                scratch: Vec::new(),
            },
            shutdown: None,
            is_stopping: false,
        }
    }

    /// Returns the time since the shard started.
    pub(super) fn elapsed(&self) -> Duration {
        monotonic_now().saturating_duration_since(self.clock.started)
    }

    /// Returns the number of slots in use: open connections, and sockets waiting to be closed.
    pub(super) fn slots_in_use(&self) -> usize {
        self.connections.slots_in_use()
    }
}
