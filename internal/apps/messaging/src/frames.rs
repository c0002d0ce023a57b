//! Encodes events of the event bus as Phoenix frames. Pure: no socket, task or clock.

use serde_json::{Value, json};

use crate::api_version::channel_of_topic;
use crate::payload::parse_json;
use latido_event_bus::{BusEvent, EventBody, PresenceDiff, PresenceEntry};
use latido_protocol::phoenix::{self, SerializerVersion};

/// Encodes an event as a frame. The event's topic already determines the API version, so only the
/// serializer version is left to choose.
pub(super) fn encode_event(vsn: SerializerVersion, event: &BusEvent) -> String {
    let channel = event
        .topics
        .first()
        .map(channel_of_topic)
        .unwrap_or_default();
    match &event.body {
        EventBody::Message(message) => {
            phoenix::encode_broadcast(vsn, channel, &message.name, &message.payload)
        }
        EventBody::PresenceList(list) => {
            let users = list.iter().map(|present| {
                (
                    present.user.as_str().to_owned(),
                    presence_metas(&present.entries),
                )
            });
            phoenix::encode_broadcast(
                vsn,
                channel,
                "presence_state",
                &Value::Object(users.collect()).to_string(),
            )
        }
        EventBody::PresenceDiff(diff) => {
            let payload = json!({"joins": diff_side(diff, diff.added.as_ref()), "leaves": diff_side(diff, diff.removed.as_ref())});
            phoenix::encode_broadcast(vsn, channel, "presence_diff", &payload.to_string())
        }
    }
}

fn diff_side(diff: &PresenceDiff, entry: Option<&PresenceEntry>) -> Value {
    let users = entry.map(|entry| {
        (
            diff.user.as_str().to_owned(),
            presence_metas(std::slice::from_ref(entry)),
        )
    });
    Value::Object(users.into_iter().collect())
}

fn presence_metas(entries: &[PresenceEntry]) -> Value {
    let meta = |entry: &PresenceEntry| {
        let mut meta = json!({"phx_ref": format!("{:x}", entry.reference)});
        if let (Value::Object(meta), Value::Object(rest)) = (&mut meta, parse_json(&entry.meta)) {
            meta.extend(rest);
        }
        meta
    };
    json!({"metas": entries.iter().map(meta).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api_version::{ClientApiVersion, channel_presence_topic};
    use crate::presence::{MessagingTopicPolicy, PresenceTracker};
    use latido_base::clock::Clock;
    use latido_base::ident::UserId;
    use latido_event_bus::{EventBus, Identity, JoinRequest, Mailbox};

    const CHANNEL: &str = "conversation:c";

    fn open(event_bus: &Arc<EventBus>, user: &str) -> Mailbox {
        let identity = Identity {
            user: Some(UserId::new(user)),
        };
        let joins = [
            JoinRequest::new(ClientApiVersion::Current.topic(CHANNEL)),
            JoinRequest::new(channel_presence_topic(CHANNEL)).meta(r#"{"online_at":"5"}"#),
        ];
        event_bus.connect(identity, &joins).unwrap()
    }

    fn frames(mailbox: &mut Mailbox) -> Vec<Value> {
        let events = std::iter::from_fn(|| mailbox.try_recv());
        events
            .map(|event| {
                serde_json::from_str(&encode_event(SerializerVersion::V2, &event.unwrap())).unwrap()
            })
            .collect()
    }

    #[test]
    fn golden_frames_of_presence() {
        let topic_policy = MessagingTopicPolicy {
            presence_tracker: Arc::new(PresenceTracker::default()),
            clock: Clock::system(),
        };
        let event_bus = Arc::new(EventBus::new(topic_policy, || 0));
        let mut ana = open(&event_bus, "ana");
        // Every topic of the join consumes one reference, with or without a presence list.
        let meta = |reference: &str| json!({"metas": [{"phx_ref": reference, "online_at": "5"}]});
        let expected_frame =
            |event: &str, payload: Value| json!([null, null, CHANNEL, event, payload]);
        assert_eq!(
            frames(&mut ana),
            [expected_frame("presence_state", json!({"ana": meta("2")}))]
        );
        let mut eva = open(&event_bus, "eva");
        let both = json!({"ana": meta("2"), "eva": meta("4")});
        assert_eq!(
            frames(&mut eva),
            [expected_frame("presence_state", both)],
            "the list, and no change before it"
        );
        let seen = frames(&mut ana);
        assert_eq!(
            seen[0],
            expected_frame(
                "presence_diff",
                json!({"joins": {"eva": meta("4")}, "leaves": {}})
            )
        );
        assert_eq!(
            (&seen[1][3], &seen[1][4]["user_id"], seen.len()),
            (&json!("user_joined"), &json!("eva"), 2)
        );
        let second = open(&event_bus, "eva");
        assert_eq!(
            frames(&mut ana),
            [expected_frame(
                "presence_diff",
                json!({"joins": {"eva": meta("6")}, "leaves": {}})
            )]
        );
        drop(second);
        assert_eq!(
            frames(&mut ana),
            [expected_frame(
                "presence_diff",
                json!({"joins": {}, "leaves": {"eva": meta("6")}})
            )]
        );
        assert!(
            frames(&mut eva)
                .iter()
                .all(|frame| frame[3] != "user_joined"),
            "nobody is told of oneself"
        );
        drop(eva);
        assert_eq!(frames(&mut ana)[1][3], "user_left");
    }
}
