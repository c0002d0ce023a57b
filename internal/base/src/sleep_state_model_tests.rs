//! Tries every order in which viewers, the sleep and the two connections can act.

use std::collections::HashSet;

use super::*;

/// The order in which the parts do what must stay in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Right,
    /// A connection is closed before it is announced.
    CloseThenAnnounce,
    /// A connection is announced before it is open.
    AnnounceThenOpen,
    /// The task looks first if something is watched, and begins the sleep later.
    LookThenSleep,
    /// A viewer reads first, and is counted later.
    ReadThenWatch,
}

/// The next action of a connection's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum TaskStep {
    Open,
    Closing,
    Closed,
    Opening,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ConnectionTask {
    step: TaskStep,
    is_connected: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ViewerStep {
    Away,
    Waiting,
    Served,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Model {
    state: SleepState,
    tasks: [ConnectionTask; 2],
    viewers: [ViewerStep; 2],
    /// True if the task that begins the sleep has looked and found nothing watched.
    has_looked: bool,
}

const CONNECTIONS: [SleepingConnection; 2] =
    [SleepingConnection::Listener, SleepingConnection::WatchLocks];
const NO_TIME: Duration = Duration::ZERO;

impl Model {
    fn new(now: Instant) -> Self {
        let task = ConnectionTask {
            step: TaskStep::Open,
            is_connected: true,
        };
        Self {
            state: SleepState::new(now),
            tasks: [task; 2],
            viewers: [ViewerStep::Away; 2],
            has_looked: false,
        }
    }

    /// Returns the states that can follow this one by one action, or what went wrong.
    fn successors(&self, order: Order, now: Instant) -> Result<Vec<Self>, String> {
        let mut next = self.sleep_successors(order, now);
        for task in 0..self.tasks.len() {
            next.extend(self.task_successor(task, order));
        }
        let is_waiting = self.viewers.contains(&ViewerStep::Waiting);
        let may_read = self.state.reads_wait_until(now).is_none();
        let can_act = (0..self.tasks.len()).any(|task| self.task_successor(task, order).is_some());
        if is_waiting && !may_read && !can_act {
            return Err(format!("a viewer waits for ever: {self:?}"));
        }
        for viewer in 0..self.viewers.len() {
            next.extend(self.viewer_successor(viewer, order, now)?);
        }
        Ok(next)
    }

    fn sleep_successors(&self, order: Order, now: Instant) -> Vec<Self> {
        let mut next = self.clone();
        if order != Order::LookThenSleep {
            return Vec::from_iter(next.state.try_sleep(NO_TIME, now).then_some(next));
        }
        if self.has_looked {
            (next.has_looked, next.state.phase) = (false, SleepPhase::Asleep);
        } else {
            next.has_looked = next.state.try_sleep(NO_TIME, now);
            next.state.phase = self.state.phase;
        }
        vec![next]
    }

    fn task_successor(&self, number: usize, order: Order) -> Option<Self> {
        let (mut next, connection) = (self.clone(), CONNECTIONS[number]);
        let is_asleep = self.state.phase == SleepPhase::Asleep;
        let task = &mut next.tasks[number];
        match task.step {
            TaskStep::Open if is_asleep && order == Order::CloseThenAnnounce => {
                (task.step, task.is_connected) = (TaskStep::Closing, false);
            }
            TaskStep::Open if is_asleep => {
                task.step = TaskStep::Closing;
                assert!(next.state.close(connection));
            }
            TaskStep::Closing if order == Order::CloseThenAnnounce => {
                task.step = TaskStep::Closed;
                next.state.close(connection);
            }
            TaskStep::Closing => (task.step, task.is_connected) = (TaskStep::Closed, false),
            TaskStep::Closed if !is_asleep && order == Order::AnnounceThenOpen => {
                task.step = TaskStep::Opening;
                next.state.opened(connection);
            }
            TaskStep::Closed if !is_asleep => {
                (task.step, task.is_connected) = (TaskStep::Opening, true);
            }
            TaskStep::Opening if order == Order::AnnounceThenOpen => {
                (task.step, task.is_connected) = (TaskStep::Open, true);
            }
            TaskStep::Opening => {
                task.step = TaskStep::Open;
                next.state.opened(connection);
            }
            TaskStep::Open | TaskStep::Closed => return None,
        }
        Some(next)
    }

    fn viewer_successor(
        &self,
        viewer: usize,
        order: Order,
        now: Instant,
    ) -> Result<Option<Self>, String> {
        let mut next = self.clone();
        let step = &mut next.viewers[viewer];
        match *step {
            ViewerStep::Away if order == Order::ReadThenWatch => {
                *step = ViewerStep::Served;
                self.check_read()?;
                next.state.watch(now);
            }
            ViewerStep::Away => {
                *step = ViewerStep::Waiting;
                next.state.watch(now);
            }
            ViewerStep::Waiting if self.state.reads_wait_until(now).is_some() => return Ok(None),
            ViewerStep::Waiting => {
                *step = ViewerStep::Served;
                self.check_read()?;
            }
            ViewerStep::Served => {
                *step = ViewerStep::Away;
                next.state.unwatch(now);
            }
        }
        Ok(Some(next))
    }

    fn check_read(&self) -> Result<(), String> {
        match self.tasks.iter().all(|task| task.is_connected) {
            true => Ok(()),
            false => Err(format!("a row is read without a connection: {self:?}")),
        }
    }

    fn check(&self) -> Result<(), String> {
        let is_watched = self.viewers.iter().any(|step| *step != ViewerStep::Away);
        match self.state.phase == SleepPhase::Asleep && is_watched {
            true => Err(format!("it sleeps while somebody watches: {self:?}")),
            false => Ok(()),
        }
    }
}

/// Visits every state that can be reached. Returns their number, or the first mistake.
fn explore(order: Order) -> Result<usize, String> {
    let now = Instant::now();
    let first = Model::new(now);
    let (mut known, mut open) = (HashSet::from([first.clone()]), vec![first]);
    while let Some(model) = open.pop() {
        model.check()?;
        for next in model.successors(order, now)? {
            if known.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(known.len())
}

#[test]
fn no_order_of_events_reads_without_connections_or_sleeps_while_somebody_watches() {
    let states = explore(Order::Right).unwrap();
    assert!(states > 50, "{states} states");
}

#[test]
fn the_model_finds_each_reversed_order() {
    let mistakes = [
        (Order::CloseThenAnnounce, "without a connection"),
        (Order::AnnounceThenOpen, "without a connection"),
        (Order::LookThenSleep, "while somebody watches"),
        (Order::ReadThenWatch, "without a connection"),
    ];
    for (order, expected) in mistakes {
        let mistake = explore(order).unwrap_err();
        assert!(mistake.contains(expected), "{order:?}: {mistake}");
    }
}
