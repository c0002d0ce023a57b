//! All connected sockets, their rooms, and the events published to them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use crate::event_types::{EventType, PublishDenied};
use crate::minute_counter::MinuteCounter;
use crate::user::{
    ADMINS_ROOM, ALL_V1_ROOM, ALL_V2_ROOM, ClientVersion, GatewayUser, HISTORY_ROOM, Role,
    personal_room, role_room, user_room,
};
use crate::wire::{self, EncodedEvent};
use latido_base::clock::Clock;
use latido_base::ident::UserId;
use latido_event_bus::{
    ConnectionId, EventBus, JoinRequest, PresenceDiff, PresenceMode, Publish, TopicName,
    TopicPolicy,
};

/// The number of events that the history keeps.
pub(super) const HISTORY_LENGTH: usize = 100;
/// The maximum number of rooms that one client may join by name.
const MAX_NAMED_ROOMS: usize = 100;

/// The topic policy without presence: lists and counts come from the connections themselves.
struct GatewayTopicPolicy;

impl TopicPolicy for GatewayTopicPolicy {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }

    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

/// A connected socket, as the dashboard shows it.
#[derive(Debug, Clone)]
pub(super) struct SocketInfo {
    pub(super) socket_id: Arc<str>,
    pub(super) user: Option<GatewayUser>,
    pub(super) connected_at: Timestamp,
    pub(super) last_activity: Timestamp,
}

/// The gateway's room service, one per server.
pub(super) struct RoomService {
    pub(super) event_bus: Arc<EventBus>,
    pub(super) clock: Clock,
    pub(super) started: Instant,
    /// Sockets by connection. Locked for one look-up, or while the dashboard copies the map.
    sockets: Mutex<HashMap<ConnectionId, SocketInfo>>,
    pub(super) counters: RoomCounters,
}

/// Counters since the server's start. Relaxed: each is independent of the others.
#[derive(Default)]
pub(super) struct RoomCounters {
    pub(super) connections: AtomicU64,
    pub(super) events_delivered: AtomicU64,
    pub(super) rooms_opened: AtomicU64,
    pub(super) events_published: AtomicU64,
    pub(super) delivered_per_minute: MinuteCounter,
}

impl RoomService {
    pub(super) fn new(clock: &Clock) -> Arc<Self> {
        let now = clock.clone();
        let exchange = Arc::new(EventBus::new(GatewayTopicPolicy, move || {
            now.now().as_microsecond()
        }));
        exchange.retain_history(&TopicName::new(HISTORY_ROOM), HISTORY_LENGTH);
        Arc::new(Self {
            event_bus: exchange,
            clock: clock.clone(),
            started: Instant::now(),
            sockets: Mutex::default(),
            counters: RoomCounters::default(),
        })
    }

    fn lock_sockets(&self) -> MutexGuard<'_, HashMap<ConnectionId, SocketInfo>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a copy of the information about all connected sockets.
    pub(super) fn sockets(&self) -> HashMap<ConnectionId, SocketInfo> {
        self.lock_sockets().clone()
    }

    /// Admits a socket that is connected to the event bus.
    pub(super) fn admit(
        self: &Arc<Self>,
        id: ConnectionId,
        generation: ClientVersion,
        socket_id: &str,
    ) -> RoomMember {
        let now = self.clock.now();
        let socket_id: Arc<str> = socket_id.into();
        self.lock_sockets().insert(
            id,
            SocketInfo {
                socket_id: Arc::clone(&socket_id),
                user: None,
                connected_at: now,
                last_activity: now,
            },
        );
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        self.broadcast_to_admins(&wire::client_event(
            "client_connected",
            &socket_id,
            None,
            now,
        ));
        RoomMember {
            service: Arc::clone(self),
            id,
            version: generation,
            socket_id,
            user: None,
            named_rooms: HashSet::new(),
        }
    }

    /// Sends an event to all members of the union of these rooms, once each. Returns `false` if
    /// no member received it because a shard is too far behind.
    pub(super) fn broadcast(
        &self,
        rooms: impl IntoIterator<Item = impl AsRef<str>>,
        packed: &EncodedEvent,
        from: Option<&GatewayUser>,
    ) -> bool {
        let rooms = rooms.into_iter().map(|room| TopicName::new(room.as_ref()));
        let mut publish = Publish::new(rooms, wire::ENCODED_EVENT_NAME, packed.to_json_text());
        if let Some(user) = from {
            publish = publish.with_sender(UserId::new(&user.id));
        }
        let Ok(outcome) = self.event_bus.publish(publish) else {
            return false;
        };
        self.counters
            .events_delivered
            .fetch_add(outcome.reached as u64, Ordering::Relaxed);
        self.counters
            .delivered_per_minute
            .add(self.clock.unix_s(), outcome.reached as u64);
        true
    }

    fn broadcast_to_admins(&self, packed: &EncodedEvent) {
        self.broadcast([ADMINS_ROOM], packed, None);
    }

    /// Publishes a business event to the rooms that it concerns. Returns `false` if no client got
    /// it.
    pub(super) fn publish_event(
        &self,
        name: &str,
        data: &Value,
        from: Option<&GatewayUser>,
    ) -> bool {
        let mut rooms = EventType::by_name(name)
            .map(|kind| kind.v1_rooms(data))
            .unwrap_or_default();
        rooms.extend([ALL_V2_ROOM.to_owned(), HISTORY_ROOM.to_owned()]);
        if !self.broadcast(
            rooms,
            &wire::business_event(name, data, from, self.clock.now()),
            from,
        ) {
            return false;
        }
        self.counters
            .events_published
            .fetch_add(1, Ordering::Relaxed);
        if let Some((role, packed)) = wire::role_event(name, data) {
            self.broadcast([role.as_str()], &packed, from);
        }
        true
    }

    /// Sends a system notification to all authenticated clients.
    pub(super) fn notify_all(&self, data: &Value) -> bool {
        self.broadcast(
            [ALL_V1_ROOM, ALL_V2_ROOM],
            &wire::system_notification(data, self.clock.now()),
            None,
        )
    }

    pub(super) fn notify_role(&self, role: Role, name: &str, payload: &Value) -> bool {
        let rooms = [role_room(role), role.as_str().to_owned()];
        self.broadcast(
            rooms,
            &wire::api_notice(name, payload, self.clock.now()),
            None,
        )
    }

    pub(super) fn notify_user(&self, id: &str, name: &str, payload: &Value) -> bool {
        let rooms = Role::ALL
            .into_iter()
            .map(|role| personal_room(role, id))
            .chain([user_room(id)]);
        self.broadcast(
            rooms,
            &wire::api_notice(name, payload, self.clock.now()),
            None,
        )
    }

    /// Counts the rooms that these joins have opened.
    fn count_opened_rooms(&self, joins: &[JoinRequest]) {
        let named = joins
            .iter()
            .filter(|join| !join.topic.as_str().starts_with('#'));
        let opened = named
            .filter(|join| self.event_bus.presence_counts(&join.topic).connections == 1)
            .count();
        self.counters
            .rooms_opened
            .fetch_add(opened as u64, Ordering::Relaxed);
    }
}

/// A socket's connection to the room service. Dropping it disconnects the socket from all rooms.
pub(super) struct RoomMember {
    service: Arc<RoomService>,
    id: ConnectionId,
    pub(super) version: ClientVersion,
    pub(super) socket_id: Arc<str>,
    user: Option<GatewayUser>,
    /// The rooms that the client joined by name.
    named_rooms: HashSet<String>,
}

/// The reason for refusing a member's event. The texts are part of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MemberError {
    #[error("No autenticado")]
    NotAuthenticated,
    #[error("Sala no permitida")]
    RoomForbidden,
    #[error("Demasiadas salas")]
    TooManyRooms,
    #[error("No se pudo unir a la sala")]
    NotJoined,
    #[error("Datos inválidos")]
    InvalidData,
    #[error("No autorizado")]
    Forbidden,
    #[error("Servidor ocupado, intente de nuevo")]
    Overloaded,
}

impl RoomMember {
    pub(super) fn who(&self) -> Option<&GatewayUser> {
        self.user.as_ref()
    }

    /// Records activity of the client, for the inactivity limit.
    pub(super) fn record_activity(&self) {
        let now = self.service.clock.now();
        if let Some(client) = self.service.lock_sockets().get_mut(&self.id) {
            client.last_activity = now;
        }
    }

    /// Sets or changes the socket's user and joins the user's rooms; earlier memberships end.
    /// Returns `false` if the connection has ended.
    pub(super) fn identify(&mut self, user: GatewayUser) -> bool {
        let joins = user.initial_rooms(self.version);
        if self
            .service
            .event_bus
            .set_identity(self.id, user.identity(), &joins)
            .is_err()
        {
            return false;
        }
        self.named_rooms.clear();
        self.service.count_opened_rooms(&joins);
        if let Some(client) = self.service.lock_sockets().get_mut(&self.id) {
            client.user = Some(user.clone());
        }
        let notice = wire::client_event(
            "client_authenticated",
            &self.socket_id,
            Some(&user),
            self.service.clock.now(),
        );
        self.service.broadcast_to_admins(&notice);
        self.user = Some(user);
        true
    }

    /// Joins a room by its name.
    ///
    /// # Errors
    /// Returns an error if the room is refused.
    pub(super) fn join(&mut self, room: &str) -> Result<(), MemberError> {
        self.check_room(room)?;
        if self.named_rooms.len() >= MAX_NAMED_ROOMS && !self.named_rooms.contains(room) {
            return Err(MemberError::TooManyRooms);
        }
        let joins = [JoinRequest::new(TopicName::new(room))];
        let joined = self
            .service
            .event_bus
            .join(self.id, &joins)
            .map_err(|_| MemberError::NotJoined)?;
        if joined.new_topics > 0 {
            self.service.count_opened_rooms(&joins);
        }
        self.named_rooms.insert(room.to_owned());
        Ok(())
    }

    /// Leaves a room; the socket need not be a member.
    ///
    /// # Errors
    /// Returns an error if the room is refused.
    pub(super) fn leave(&mut self, room: &str) -> Result<(), MemberError> {
        self.check_room(room)?;
        self.service.event_bus.leave(self.id, &TopicName::new(room));
        self.named_rooms.remove(room);
        Ok(())
    }

    fn check_room(&self, room: &str) -> Result<(), MemberError> {
        let user = self.user.as_ref().ok_or(MemberError::NotAuthenticated)?;
        if user.can_join(room) {
            Ok(())
        } else {
            Err(MemberError::RoomForbidden)
        }
    }

    /// Publishes a business event in the name of the client.
    ///
    /// # Errors
    /// Returns an error if the event is refused.
    pub(super) fn publish(
        &self,
        kind: &EventType,
        name: &str,
        data: &Value,
    ) -> Result<(), MemberError> {
        let user = self.user.as_ref().ok_or(MemberError::NotAuthenticated)?;
        kind.check_publish(user, data)
            .map_err(|denied| match denied {
                PublishDenied::InvalidData => MemberError::InvalidData,
                PublishDenied::Forbidden => MemberError::Forbidden,
            })?;
        if self.service.publish_event(name, data, Some(user)) {
            Ok(())
        } else {
            Err(MemberError::Overloaded)
        }
    }
}

impl Drop for RoomMember {
    fn drop(&mut self) {
        // The connection ends first, so that recipients of the event no longer find the socket.
        self.service.event_bus.disconnect(self.id);
        self.service.lock_sockets().remove(&self.id);
        let now = self.service.clock.now();
        self.service.broadcast_to_admins(&wire::client_event(
            "client_disconnected",
            &self.socket_id,
            None,
            now,
        ));
    }
}

#[cfg(test)]
#[path = "rooms_tests.rs"]
mod tests;
