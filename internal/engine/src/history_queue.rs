//! The topics whose history clients wait for. Pure.
//!
//! - At most one statement at a time reads histories of a stream, so at most one reads those of a
//!   topic.
//! - A statement serves the requests that came before it started. A later request waits for the next
//!   statement: the snapshot of the first may lack a change that the client was never notified of,
//!   because it subscribed after it.
//! - All requests for a topic that wait at the same time share one statement.

use std::time::{Duration, Instant};

use latido_base::ident::{IterMap, StreamId, Topic};

/// The results that the metric of histories counts.
pub(super) const HISTORY_RESULTS: [&str; 6] = [
    "complete",
    "truncated",
    "unavailable",
    "rejected",
    "broken",
    "unserved",
];

/// The largest number of topics in one statement.
const MAX_TOPICS: usize = 16;

/// The longest time that a request waits for the start of its statement. The client gets no frame of
/// the channel meanwhile.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The pause after the database refused a stream's history whatever the keys were.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

/// The requests that wait for a statement, and the statements in progress. `W` is a request.
#[derive(Debug)]
pub(super) struct HistoryQueue<W> {
    waiting: IterMap<Topic, WaitingTopic<W>>,
    /// The streams with a statement in progress.
    reading: Vec<StreamId>,
    max_statements: usize,
    /// The streams whose history was refused, with the end of the pause.
    refused: Vec<(StreamId, Instant)>,
    /// True once no statement will start any more.
    is_closed: bool,
}

#[derive(Debug)]
struct WaitingTopic<W> {
    /// The requests with their times, in their order.
    requests: Vec<(Instant, W)>,
    /// True if the topic must be read by a statement of its own, because one with others failed.
    is_alone: bool,
}

/// The topics that one statement reads, each with its requests.
#[derive(Debug)]
pub(super) struct HistoryBatch<W> {
    pub(super) stream: StreamId,
    pub(super) topics: Vec<(Topic, Vec<(Instant, W)>)>,
    pub(super) started_at: Instant,
}

impl<W> HistoryQueue<W> {
    /// Creates a queue that starts at most `max_statements` at a time.
    pub(super) fn new(max_statements: usize) -> Self {
        Self {
            waiting: IterMap::default(),
            reading: Vec::new(),
            max_statements: max_statements.max(1),
            refused: Vec::new(),
            is_closed: false,
        }
    }

    /// Adds a request. Returns it if the queue is closed.
    pub(super) fn add(&mut self, topic: Topic, request: W, now: Instant) -> Option<W> {
        if self.is_closed {
            return Some(request);
        }
        let waiting = self.waiting.entry(topic).or_insert_with(|| WaitingTopic {
            requests: Vec::new(),
            is_alone: false,
        });
        waiting.requests.push((now, request));
        None
    }

    /// Returns whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the topics of the next statement: those of the stream that has waited longest, unless a
    /// statement for it is in progress.
    pub(super) fn take_batch(&mut self, now: Instant) -> Option<HistoryBatch<W>> {
        if self.reading.len() >= self.max_statements {
            return None;
        }
        let mut waiting = self.waiting.iter();
        let (first, of_first) = waiting.find(|(topic, _)| !self.reading.contains(&topic.stream))?;
        let (stream, is_alone) = (first.stream, of_first.is_alone);
        let limit = if is_alone { 1 } else { MAX_TOPICS };
        let fits = |(topic, waiting): &(&Topic, &WaitingTopic<W>)| {
            topic.stream == stream && waiting.is_alone == is_alone
        };
        let chosen: Vec<_> = self.waiting.iter().filter(fits).take(limit).collect();
        let chosen: Vec<Topic> = chosen.into_iter().map(|(topic, _)| topic.clone()).collect();
        let mut topics = Vec::with_capacity(chosen.len());
        for topic in chosen {
            if let Some(waiting) = self.waiting.shift_remove(&topic) {
                topics.push((topic, waiting.requests));
            }
        }
        self.reading.push(stream);
        Some(HistoryBatch {
            stream,
            topics,
            started_at: now,
        })
    }

    /// Ends the statement of a stream.
    pub(super) fn finish(&mut self, stream: StreamId) {
        self.reading.retain(|reading| *reading != stream);
    }

    /// Lets the topics of a failed statement be read one by one.
    pub(super) fn separate(&mut self, batch: HistoryBatch<W>) {
        for (topic, mut requests) in batch.topics {
            let waiting = self.waiting.entry(topic).or_insert_with(|| WaitingTopic {
                requests: Vec::new(),
                is_alone: true,
            });
            waiting.is_alone = true;
            requests.append(&mut waiting.requests);
            waiting.requests = requests;
        }
    }

    /// Starts the pause of a stream whose history the database refuses.
    pub(super) fn refuse(&mut self, stream: StreamId, now: Instant) {
        self.refused.retain(|(refused, _)| *refused != stream);
        self.refused.push((stream, now + BROKEN_PAUSE));
    }

    /// Takes the requests that no statement will serve: those of streams whose history is refused, and
    /// those that waited too long.
    pub(super) fn take_hopeless(&mut self, now: Instant) -> Vec<W> {
        self.refused.retain(|(_, until)| *until > now);
        let mut hopeless = Vec::new();
        for (topic, waiting) in &mut self.waiting {
            let is_refused = self
                .refused
                .iter()
                .any(|(stream, _)| *stream == topic.stream);
            let is_late = |since: Instant| now.saturating_duration_since(since) >= MAX_WAIT;
            let kept = match is_refused {
                true => waiting.requests.len(),
                false => waiting
                    .requests
                    .partition_point(|(since, _)| is_late(*since)),
            };
            let taken = waiting.requests.drain(..kept);
            hopeless.extend(taken.map(|(_, request)| request));
        }
        self.waiting
            .retain(|_, waiting| !waiting.requests.is_empty());
        hopeless
    }

    /// Takes the requests for a topic, which has lost its last viewer.
    pub(super) fn take_topic(&mut self, topic: &Topic) -> Vec<(Instant, W)> {
        let waiting = self.waiting.shift_remove(topic);
        waiting.map(|waiting| waiting.requests).unwrap_or_default()
    }

    /// Takes all waiting requests.
    pub(super) fn take_all(&mut self) -> Vec<W> {
        let waiting = std::mem::take(&mut self.waiting);
        let requests = waiting.into_values().flat_map(|waiting| waiting.requests);
        requests.map(|(_, request)| request).collect()
    }

    /// Closes the queue, because the server stops. Returns the waiting requests.
    pub(super) fn close(&mut self) -> Vec<W> {
        self.is_closed = true;
        self.take_all()
    }

    /// Returns the time at which a request has waited too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let first = self.waiting.values().filter_map(|w| w.requests.first());
        first.map(|(since, _)| *since + MAX_WAIT).min()
    }
}

#[cfg(test)]
#[path = "history_queue_tests.rs"]
mod tests;
