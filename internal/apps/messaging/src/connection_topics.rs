//! The topics of a connection, and what its user tells others.

use serde_json::json;

use crate::api_version::{ClientApiVersion, channel_presence_topic, kick_topic};
use crate::connection::PhoenixConnection;
use crate::payload::rfc3339;
use latido_event_bus::{JoinRequest, Publish};
use latido_protocol::phoenix;
use latido_shard::{Actions, Timestamp};

impl PhoenixConnection {
    /// Subscribes to the topics of a channel. Only conversations announce presence.
    pub(super) fn join_topics(&self, channel: &str) {
        let Some(id) = self.connection_id else { return };
        let mut joins = vec![JoinRequest::new(self.session.vocabulary().topic(channel))];
        if channel.starts_with("conversation:") {
            joins.push(JoinRequest::new(kick_topic(channel, self.verified.user_id)));
            joins.push(
                JoinRequest::new(channel_presence_topic(channel)).meta(self.presence_meta(channel)),
            );
        }
        if let Err(error) = self.shared.event_bus.join(id, &joins) {
            tracing::warn!(%error, "a channel's topics could not be joined");
        }
    }

    pub(super) fn leave_topics(&self, channel: &str) {
        let Some(id) = self.connection_id else { return };
        for topic in [
            channel_presence_topic(channel),
            self.session.vocabulary().topic(channel),
            kick_topic(channel, self.verified.user_id),
        ] {
            self.shared.event_bus.leave(id, &topic);
        }
    }

    /// Moves the subscriptions of every channel from one API version to the other. This runs under
    /// the membership lock, so each change arrives in exactly one of the versions.
    pub(super) fn switch_version(&self, api_version: ClientApiVersion) {
        let Some(id) = self.connection_id else { return };
        self.shared.membership_epoch.with_lock(|_| {
            for channel in self.session.channels() {
                for old in ClientApiVersion::ALL
                    .into_iter()
                    .filter(|old| *old != api_version)
                {
                    // A client that was removed from the channel stays removed.
                    if self.shared.event_bus.leave(id, &old.topic(channel)) {
                        let _ = self
                            .shared
                            .event_bus
                            .join(id, &[JoinRequest::new(api_version.topic(channel))]);
                    }
                }
            }
        });
    }

    pub(super) fn publish_typing(
        &self,
        channel: &str,
        is_typing: bool,
        now: Timestamp,
        actions: Option<&mut Actions<'_>>,
    ) {
        let Some(id) = self.connection_id else { return };
        if is_typing
            && self
                .shared
                .typing_limit
                .try_acquire(self.verified.user_id, now.unix_s)
                .is_err()
        {
            return;
        }
        let action = if is_typing { "start" } else { "stop" };
        let documented_payload = json!({"user_id": self.verified.user_id, "action": action, "timestamp": rfc3339(now.unix_s.saturating_mul(1_000_000))});
        let conversation = channel.strip_prefix("conversation:").unwrap_or(channel);
        let current_payload = json!({"userId": self.verified.user_id, "typing": is_typing, "conversationId": conversation}).to_string();
        let publish = |api_version: ClientApiVersion, event: &str, payload: String| {
            // Typing is only of interest now: a shard that is too far behind may lose it.
            let _ = self.shared.event_bus.publish(
                Publish::new([api_version.topic(channel)], event, payload).except_connection(id),
            );
        };
        publish(
            ClientApiVersion::Documented,
            "typing_indicator",
            documented_payload.to_string(),
        );
        publish(
            ClientApiVersion::Current,
            "user_typing",
            current_payload.clone(),
        );
        // Clients of the current API also receive their own typing events.
        if let (Some(actions), ClientApiVersion::Current) = (actions, self.session.vocabulary()) {
            actions.send_text(&phoenix::encode_broadcast(
                self.verified.vsn,
                channel,
                "user_typing",
                &current_payload,
            ));
        }
    }

    /// Sets the user's status in every presence list that contains this socket.
    pub(super) fn set_status(&self, status: &str, now: Timestamp) {
        let Some(id) = self.connection_id else { return };
        self.shared
            .presence_tracker
            .set_status(self.verified.user_id, status);
        let timestamp = rfc3339(now.unix_s.saturating_mul(1_000_000));
        let payload =
            json!({"userId": self.verified.user_id, "status": status, "timestamp": timestamp})
                .to_string();
        for channel in self
            .session
            .channels()
            .filter(|channel| channel.starts_with("conversation:"))
        {
            if self.shared.event_bus.update_meta(
                id,
                &channel_presence_topic(channel),
                self.presence_meta(channel),
            ) {
                let topics = ClientApiVersion::ALL.map(|api_version| api_version.topic(channel));
                let _ = self.shared.event_bus.publish(Publish::new(
                    topics,
                    "user_status_changed",
                    payload.as_str(),
                ));
            }
        }
    }

    pub(super) fn presence_meta(&self, channel: &str) -> String {
        json!({
            "online_at": self.connected_at_s.to_string(),
            "conversation_id": channel.strip_prefix("conversation:"),
            "status": self.shared.presence_tracker.status(self.verified.user_id),
            "user_id": self.verified.user_id,
            "device_info": {"platform": "unknown", "version": "unknown"},
        })
        .to_string()
    }
}
