//! Presence lists: the entry of each member, and the announcements of their changes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::fan_out::PendingWakes;
use crate::presence::PresenceMode;
use crate::state::BusState;
use crate::{ConnectionId, EventBody, JoinRequest, PresenceDiff, PresenceEntry, TopicName};

impl BusState {
    /// Joins one topic. First the members are notified, then the connection becomes a member, then
    /// it gets the presence list. So it misses no change and gets none twice.
    pub(super) fn join_topic(
        &mut self,
        conn: u32,
        join: &JoinRequest,
        wakes: &mut PendingWakes,
    ) -> bool {
        let opened_us = self.next_timestamp();
        let policy = &self.policy;
        let topic = self.connections.open_topic(
            &join.topic,
            || policy.presence_mode(&join.topic),
            opened_us,
        );
        if self.connections.find_membership(conn, topic).is_some() {
            return false;
        }
        let meta = join.with_meta.as_ref().unwrap_or(&self.no_meta);
        let entry = self.new_presence_entry(conn, &Arc::clone(meta));
        let Some(identity) = self
            .connections
            .connection(conn)
            .map(|conn| Arc::clone(&conn.identity))
        else {
            return false;
        };
        let mut listed = None;
        if let Some(listed_topic) = self.connections.topic_mut(topic)
            && listed_topic.presence_mode != PresenceMode::Off
        {
            listed = listed_topic
                .presence_map
                .get_or_insert_default()
                .add(&identity, entry);
        }
        if let Some(diff) = listed {
            self.announce(topic, diff, wakes);
        }
        self.connections.add_member(conn, topic);
        let Some(joined) = self.connections.topic(topic) else {
            return true;
        };
        if joined.presence_mode == PresenceMode::Announced {
            let state = EventBody::PresenceList(
                joined
                    .presence_map
                    .as_ref()
                    .map(|presence_map| presence_map.list())
                    .unwrap_or_default(),
            );
            let name = joined.name.clone();
            if let Some(member) = self.connections.connection(conn) {
                self.fan_out.add_recipient(conn, &member.target);
            }
            self.deliver(Box::new([name]), state, wakes);
        }
        true
    }

    fn new_presence_entry(&mut self, conn: u32, meta: &Arc<str>) -> PresenceEntry {
        self.last_reference += 1;
        PresenceEntry {
            connection: self.connections.connection_id(conn),
            reference: self.last_reference,
            meta: Arc::clone(meta),
        }
    }

    pub(super) fn update_meta(
        &mut self,
        id: ConnectionId,
        name: &TopicName,
        meta: &Arc<str>,
        wakes: &mut PendingWakes,
    ) -> bool {
        let Some((conn, topic)) = self
            .connections
            .find_connection(id)
            .zip(self.connections.find_topic(name))
        else {
            return false;
        };
        let entry = self.new_presence_entry(conn, meta);
        let Some(identity) = self
            .connections
            .connection(conn)
            .map(|conn| Arc::clone(&conn.identity))
        else {
            return false;
        };
        let presence_map = self
            .connections
            .topic_mut(topic)
            .and_then(|topic| topic.presence_map.as_mut());
        let Some(diff) =
            presence_map.and_then(|presence_map| presence_map.update(&identity, entry))
        else {
            return false;
        };
        self.announce(topic, diff, wakes);
        true
    }

    /// Announces a change of a topic's presence list to its members, if the mode says so, and to
    /// the recipients that the policy names.
    fn announce(&mut self, topic: u32, diff: PresenceDiff, wakes: &mut PendingWakes) {
        let Some((name, mode)) = self
            .connections
            .topic(topic)
            .map(|topic| (topic.name.clone(), topic.presence_mode))
        else {
            return;
        };
        // A panic in the policy must not leave a change half made. The panic hook has already
        // printed it to standard error.
        let messages = catch_unwind(AssertUnwindSafe(|| {
            self.policy.on_presence_change(&name, &diff)
        }))
        .unwrap_or_default();
        if mode == PresenceMode::Announced {
            self.fan_out.collect_recipients(
                &mut self.connections,
                std::slice::from_ref(&name),
                std::iter::empty(),
            );
            self.deliver(Box::new([name]), EventBody::PresenceDiff(diff), wakes);
        }
        for publish in messages {
            self.collect_recipients_for(&publish);
            self.deliver(
                publish.topics.into(),
                EventBody::Message(publish.message),
                wakes,
            );
        }
    }

    /// Announces that a connection has left topics, and closes those that are empty.
    pub(super) fn announce_left(
        &mut self,
        left: Vec<(u32, Option<PresenceDiff>)>,
        wakes: &mut PendingWakes,
    ) {
        for (topic, diff) in left {
            if let Some(diff) = diff {
                self.announce(topic, diff, wakes);
            }
            self.connections.close_topic_if_empty(topic);
        }
    }
}
