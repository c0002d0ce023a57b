//! A model test: random requests, statements and failures. Every request gets exactly one response,
//! from a statement that started after it, for its own topic.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use latido_base::ident::Key;

const STATEMENTS: usize = 2;

fn topic(number: u8) -> Topic {
    Topic {
        stream: StreamId(u16::from(number % 3)),
        key: Key::from_canonical(&number.to_string()),
    }
}

/// A request: its number, its topic and the time at which it came.
type Request = (u32, u8, Instant);

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Start,
    /// Ends a statement in progress: the data, an error because of one topic, or because of the
    /// stream.
    Finish(u8),
    Reject(u8),
    Refuse(u8),
    Leave(u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40u8).prop_map(Step::Add),
        4 => Just(Step::Start),
        3 => any::<u8>().prop_map(Step::Finish),
        1 => any::<u8>().prop_map(Step::Reject),
        1 => any::<u8>().prop_map(Step::Refuse),
        1 => (0..40u8).prop_map(Step::Leave),
        2 => (1..4_000u64).prop_map(Step::Pass),
    ]
}

struct Model {
    queue: HistoryQueue<Request>,
    statements: Vec<HistoryBatch<Request>>,
    /// The requests without a response.
    open: BTreeSet<u32>,
    /// The statements that read each topic.
    reading: BTreeMap<Topic, usize>,
    asked: u32,
    now: Instant,
}

impl Model {
    fn respond(&mut self, requests: impl IntoIterator<Item = Request>) {
        for (number, ..) in requests {
            assert!(self.open.remove(&number), "one response for {number}");
        }
    }

    fn start(&mut self) {
        let Some(batch) = self.queue.take_batch(self.now) else {
            return;
        };
        assert!(!batch.topics.is_empty() && batch.topics.len() <= MAX_TOPICS);
        for (topic, requests) in &batch.topics {
            assert!(!requests.is_empty());
            assert_eq!(topic.stream, batch.stream);
            let readers = self.reading.entry(topic.clone()).or_default();
            *readers += 1;
            assert_eq!(*readers, 1, "one statement for a topic");
            for (since, (_, number, asked)) in requests {
                assert_eq!((since, topic), (asked, &super::tests::topic(*number)));
                assert!(*asked <= batch.started_at);
            }
        }
        self.statements.push(batch);
        assert!(self.statements.len() <= STATEMENTS);
        let streams: BTreeSet<_> = self.statements.iter().map(|batch| batch.stream).collect();
        assert_eq!(streams.len(), self.statements.len());
    }

    fn end(&mut self, choice: u8) -> Option<HistoryBatch<Request>> {
        if self.statements.is_empty() {
            return None;
        }
        let at = usize::from(choice) % self.statements.len();
        let batch = self.statements.remove(at);
        for (topic, _) in &batch.topics {
            self.reading.remove(topic);
        }
        self.queue.finish(batch.stream);
        Some(batch)
    }

    fn answer(&mut self, batch: HistoryBatch<Request>) {
        let requests = batch.topics.into_iter().flat_map(|(_, requests)| requests);
        let requests: Vec<_> = requests.map(|(_, request)| request).collect();
        assert!(
            requests
                .iter()
                .all(|(_, _, asked)| *asked <= batch.started_at)
        );
        self.respond(requests);
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Add(number) => {
                self.asked += 1;
                self.open.insert(self.asked);
                let request = (self.asked, number, self.now);
                assert_eq!(self.queue.add(topic(number), request, self.now), None);
            }
            Step::Start => self.start(),
            Step::Finish(choice) => {
                if let Some(batch) = self.end(choice) {
                    self.answer(batch);
                }
            }
            Step::Reject(choice) => match self.end(choice) {
                Some(batch) if batch.topics.len() > 1 => self.queue.separate(batch),
                Some(batch) => self.answer(batch),
                None => {}
            },
            Step::Refuse(choice) => {
                if let Some(batch) = self.end(choice) {
                    self.queue.refuse(batch.stream, self.now);
                    self.answer(batch);
                }
            }
            Step::Leave(number) => {
                let requests = self.queue.take_topic(&topic(number));
                self.respond(requests.into_iter().map(|(_, request)| request));
            }
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
        }
        let hopeless = self.queue.take_hopeless(self.now);
        self.respond(hopeless);
        let deadline = self.queue.next_deadline();
        assert!(deadline.is_none_or(|at| at > self.now));
    }
}

proptest! {
    #[test]
    fn every_request_gets_one_response_that_is_not_older(
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut model = Model {
            queue: HistoryQueue::new(STATEMENTS),
            statements: Vec::new(),
            open: BTreeSet::new(),
            reading: BTreeMap::new(),
            asked: 0,
            now: Instant::now(),
        };
        for step in &steps {
            model.apply(step);
        }
        // Whatever happened before, statements that succeed serve all that wait.
        for _ in 0..500 {
            model.apply(&Step::Start);
            model.apply(&Step::Finish(0));
        }
        prop_assert!(model.open.is_empty(), "{:?}", model.open);
    }
}

#[test]
fn later_requests_wait_for_the_next_statement_and_share_it() {
    let now = Instant::now();
    let mut queue = HistoryQueue::new(STATEMENTS);
    let add = |queue: &mut HistoryQueue<char>, number, name| {
        assert_eq!(queue.add(topic(number), name, now), None);
    };
    add(&mut queue, 1, 'a');
    add(&mut queue, 1, 'b');
    let first = queue.take_batch(now).unwrap();
    add(&mut queue, 1, 'c');
    add(&mut queue, 4, 'd');
    assert!(queue.take_batch(now).is_none(), "the stream is being read");
    let names = |batch: &HistoryBatch<char>| -> String {
        let requests = batch.topics.iter().flat_map(|(_, requests)| requests);
        requests.map(|(_, name)| *name).collect()
    };
    assert_eq!(names(&first), "ab");
    queue.finish(first.stream);
    assert_eq!(names(&queue.take_batch(now).unwrap()), "cd");
    add(&mut queue, 1, 'e');
    assert_eq!(queue.close(), ['e']);
    assert_eq!(queue.add(topic(1), 'f', now), Some('f'));
}
