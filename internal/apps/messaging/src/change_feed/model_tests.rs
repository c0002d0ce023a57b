//! Tests the feed against a model. For any order of commits, reads and failures, every member
//! receives every message once, in the order of its conversation, and no other user receives it.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::change_source::SourceFuture;
use crate::database::{ChangePage, StoredConversation, StoredMessage};
use crate::payload::tests::test_message;
use crate::presence::MessagingTopicPolicy;
use latido_base::clock::Clock;
use latido_event_bus::{Identity, JoinRequest, Mailbox};

const USERS: u128 = 4;
const CONVERSATIONS: u128 = 3;

/// A database whose transactions commit later than they draw their numbers, except within a
/// conversation.
#[derive(Default)]
struct FakeSource {
    /// All committed changes, in commit order.
    committed: Mutex<Vec<MessagingChange>>,
    messages: Mutex<HashMap<Uuid, StoredMessage>>,
    members: Mutex<Vec<(Uuid, Uuid)>>,
    /// The number of reads that are still to fail.
    reads_to_fail: AtomicUsize,
}

impl FakeSource {
    fn respond<'a, T: Send + 'a>(
        &'a self,
        give: impl FnOnce() -> T + Send + 'a,
    ) -> SourceFuture<'a, T> {
        Box::pin(async move {
            let failing =
                self.reads_to_fail
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    });
            if failing.is_ok() {
                Err(DatabaseError::Unavailable {
                    reason: "test".into(),
                })
            } else {
                Ok(give())
            }
        })
    }
}

impl ChangeSource for FakeSource {
    fn cursor(&self) -> SourceFuture<'_, ChangeCursor> {
        self.respond(ChangeCursor::test_start)
    }
    fn changes<'a>(&'a self, cursor: &'a ChangeCursor) -> SourceFuture<'a, ChangePage> {
        // A returned batch counts as read only with the next cursor: a read that fails returns the
        // same batch again.
        self.respond(|| {
            let all = self.committed.lock().unwrap();
            let new: Vec<MessagingChange> = all
                .iter()
                .skip(cursor.test_position())
                .take(3)
                .cloned()
                .collect();
            let cursor = cursor.test_advanced(new.len());
            let more = cursor.test_position() < all.len();
            ChangePage {
                changes: new,
                cursor,
                has_more: more,
            }
        })
    }
    fn messages<'a>(&'a self, ids: &'a [Uuid]) -> SourceFuture<'a, Vec<StoredMessage>> {
        self.respond(|| {
            ids.iter()
                .filter_map(|id| self.messages.lock().unwrap().get(id).cloned())
                .collect()
        })
    }
    fn conversations<'a>(&'a self, _: &'a [Uuid]) -> SourceFuture<'a, Vec<StoredConversation>> {
        self.respond(Vec::new)
    }
    fn members<'a>(
        &'a self,
        conversations: &'a [Uuid],
        users: &'a [Uuid],
    ) -> SourceFuture<'a, Vec<(Uuid, Uuid)>> {
        let pairs = |(conversation, user): &&(Uuid, Uuid)| {
            conversations.contains(conversation) && users.contains(user)
        };
        self.respond(move || {
            self.members
                .lock()
                .unwrap()
                .iter()
                .filter(pairs)
                .copied()
                .collect()
        })
    }
    fn contacts(&self, _: Uuid) -> SourceFuture<'_, Vec<Uuid>> {
        self.respond(Vec::new)
    }
    fn delete_old_changes(&self) -> SourceFuture<'_, ()> {
        self.respond(|| ())
    }
}

/// One device that has joined its user's channel and those of the conversations.
struct TestDevice {
    user: Uuid,
    mailbox: Mailbox,
    /// The expected message ids on each channel, in order.
    expected: HashMap<String, Vec<Uuid>>,
    received: HashMap<String, Vec<Uuid>>,
}

struct FeedHarness {
    source: Arc<FakeSource>,
    feed: ChangeFeed,
    devices: Vec<TestDevice>,
    cursor: Option<ChangeCursor>,
    message_count: u128,
}

impl FeedHarness {
    fn new() -> Self {
        let (fake_source, roll) = (
            Arc::new(FakeSource::default()),
            Arc::new(PresenceTracker::default()),
        );
        let topic_policy = MessagingTopicPolicy {
            presence_tracker: Arc::clone(&roll),
            clock: Clock::system(),
        };
        let event_bus = Arc::new(EventBus::new(topic_policy, || 0));
        let source = Arc::clone(&fake_source);
        let feed = ChangeFeed {
            source,
            event_bus,
            membership_epoch: Arc::default(),
            presence_tracker: roll,
            trigger: FeedTrigger::default(),
        };
        Self {
            source: fake_source,
            feed,
            devices: Vec::new(),
            cursor: None,
            message_count: 0,
        }
    }

    fn is_member(&self, conversation: Uuid, user: Uuid) -> bool {
        self.source
            .members
            .lock()
            .unwrap()
            .contains(&(conversation, user))
    }

    fn connect(&mut self, user: Uuid, is_head: bool) {
        let api_version = if is_head {
            ClientApiVersion::Current
        } else {
            ClientApiVersion::Documented
        };
        let own_channel = crate::api_version::user_channel(user);
        let mut joins = vec![
            JoinRequest::new(crate::api_version::user_presence_topic(user)),
            JoinRequest::new(api_version.topic(&own_channel)),
        ];
        for conversation in (0..CONVERSATIONS)
            .map(Uuid::from_u128)
            .filter(|id| self.is_member(*id, user))
        {
            let channel = conversation_channel(conversation);
            joins.extend(
                [api_version.topic(&channel), kick_topic(&channel, user)].map(JoinRequest::new),
            );
        }
        let identity = Identity {
            user: Some(UserId::new(&user.to_string())),
        };
        let mailbox = self.feed.event_bus.connect(identity, &joins).unwrap();
        self.devices.push(TestDevice {
            user,
            mailbox,
            expected: HashMap::new(),
            received: HashMap::new(),
        });
    }

    fn commit(&mut self, kind: &str, conversation: Uuid, message: Option<Uuid>, user: Uuid) {
        let mut committed = self.source.committed.lock().unwrap();
        let id = i64::try_from(committed.len()).unwrap();
        let detail = "{}".to_owned();
        committed.push(MessagingChange {
            id,
            kind: kind.into(),
            conversation,
            message,
            user: Some(user),
            detail,
            at_us: 0,
        });
    }

    fn send(&mut self, conversation: Uuid, sender: Uuid) {
        self.message_count += 1;
        let id = Uuid::from_u128(self.message_count);
        let message = StoredMessage {
            id,
            conversation_id: conversation,
            sender_id: sender,
            ..test_message("x")
        };
        self.source.messages.lock().unwrap().insert(id, message);
        self.commit("message_added", conversation, Some(id), sender);
        let members = self.source.members.lock().unwrap();
        for device in self
            .devices
            .iter_mut()
            .filter(|device| members.contains(&(conversation, device.user)))
        {
            let own_channel = crate::api_version::user_channel(device.user);
            device
                .expected
                .entry(conversation_channel(conversation))
                .or_default()
                .push(id);
            if device.user != sender {
                device.expected.entry(own_channel).or_default().push(id);
            }
        }
    }

    async fn publish_and_receive(&mut self) {
        let mut cursor = self.cursor.take();
        while self.feed.publish_changes(&mut cursor).await.is_err() {}
        self.cursor = cursor;
        for device in &mut self.devices {
            while let Some(event) = device.mailbox.try_recv() {
                let event = event.expect("nobody is too slow here");
                let Some(message) = event
                    .message()
                    .filter(|message| &*message.name == "new_message")
                else {
                    continue;
                };
                let payload: serde_json::Value = serde_json::from_str(&message.payload).unwrap();
                let id = payload
                    .get("message_id")
                    .or_else(|| payload["message"].get("id"))
                    .and_then(|id| id.as_str())
                    .unwrap();
                let channel = crate::api_version::channel_of_topic(&event.topics[0]).to_owned();
                device
                    .received
                    .entry(channel)
                    .or_default()
                    .push(id.parse().unwrap());
            }
        }
    }

    /// Removes a member after all earlier events were received.
    async fn remove(&mut self, conversation: Uuid, user: Uuid) {
        self.publish_and_receive().await;
        self.source
            .members
            .lock()
            .unwrap()
            .retain(|pair| *pair != (conversation, user));
        self.commit("member_removed", conversation, None, user);
    }
}

#[derive(Debug, Clone)]
enum FeedStep {
    Send(u128, u128),
    Connect(u128, bool),
    Drop(usize),
    Remove(u128, u128),
    Publish,
    Fail(usize),
}

fn feed_step() -> impl Strategy<Value = FeedStep> {
    prop_oneof![
        8 => (0..CONVERSATIONS, 0..USERS).prop_map(|(conversation, user)| FeedStep::Send(conversation, user)),
        3 => (0..USERS, any::<bool>()).prop_map(|(user, is_head)| FeedStep::Connect(user, is_head)),
        1 => (0usize..6).prop_map(FeedStep::Drop),
        1 => (0..CONVERSATIONS, 0..USERS).prop_map(|(conversation, user)| FeedStep::Remove(conversation, user)),
        3 => Just(FeedStep::Publish),
        1 => (1usize..4).prop_map(FeedStep::Fail),
    ]
}

async fn run_steps(steps: Vec<FeedStep>) -> Result<(), TestCaseError> {
    let mut harness = FeedHarness::new();
    let pairs = (0..CONVERSATIONS)
        .flat_map(|conversation| (0..USERS).map(move |user| (conversation, user)));
    let members = pairs.filter(|(conversation, user)| (conversation + user) % 4 != 3);
    *harness.source.members.lock().unwrap() = members
        .map(|(c, u)| (Uuid::from_u128(c), Uuid::from_u128(u)))
        .collect();
    harness.publish_and_receive().await;
    for step in steps {
        match step {
            FeedStep::Send(conversation, user) => {
                harness.send(Uuid::from_u128(conversation), Uuid::from_u128(user))
            }
            // Messages that were committed earlier are out of scope: clients load them as pending
            // messages.
            FeedStep::Connect(user, is_head) => {
                harness.publish_and_receive().await;
                harness.connect(Uuid::from_u128(user), is_head);
            }
            FeedStep::Drop(which) if which < harness.devices.len() => {
                drop(harness.devices.remove(which))
            }
            FeedStep::Remove(conversation, user) => {
                harness
                    .remove(Uuid::from_u128(conversation), Uuid::from_u128(user))
                    .await
            }
            FeedStep::Publish => harness.publish_and_receive().await,
            FeedStep::Fail(times) => harness.source.reads_to_fail.store(times, Ordering::Relaxed),
            FeedStep::Drop(_) => {}
        }
    }
    harness.publish_and_receive().await;
    for device in &harness.devices {
        prop_assert_eq!(&device.received, &device.expected, "user {}", device.user);
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_member_receives_every_message_once_in_order(steps in proptest::collection::vec(feed_step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run_steps(steps))?;
    }
}
