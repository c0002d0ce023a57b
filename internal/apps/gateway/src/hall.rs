//! All connected sockets, their rooms, and the events published to them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use crate::business::{Kind, Unsaid};
use crate::minute::Minute;
use crate::who::{
    ADMINS, FIRST, Generation, HISTORY, Role, SECOND, Who, everybody, personal, user,
};
use crate::words::{self, Packed};
use latido_base::clock::Clock;
use latido_base::ident::UserId;
use latido_event_bus::{
    ConnectionId, PresenceDiff, EventBus, Identity, JoinRequest, Mailbox, PresenceMode, Publish, TopicPolicy, TopicName,
};

/// The number of events that the history keeps.
pub(super) const HISTORY_LENGTH: usize = 100;
/// The maximum number of rooms that one client may join by name.
const MAX_ROOMS: usize = 100;

/// The topic policy without presence: lists and counts come from the connections themselves.
struct NoPresence;

impl TopicPolicy for NoPresence {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }

    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

/// A connected socket, as the dashboard shows it.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) socket_id: Arc<str>,
    pub(super) who: Option<Who>,
    pub(super) since: Timestamp,
    pub(super) heard: Timestamp,
}

/// The gateway's room service, one per server.
pub(super) struct Hall {
    pub(super) exchange: Arc<EventBus>,
    pub(super) clock: Clock,
    pub(super) started: Instant,
    /// Sockets by connection. Locked for one look-up, or while the dashboard copies the map.
    clients: Mutex<HashMap<ConnectionId, Client>>,
    pub(super) counts: Counts,
}

/// Counters since the server's start. Relaxed: each is independent of the others.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) connections: AtomicU64,
    pub(super) emitted: AtomicU64,
    pub(super) rooms: AtomicU64,
    pub(super) published: AtomicU64,
    pub(super) minute: Minute,
}

impl Hall {
    pub(super) fn new(clock: &Clock) -> Arc<Self> {
        let now = clock.clone();
        let exchange = Arc::new(EventBus::new(NoPresence, move || {
            now.now().as_microsecond()
        }));
        exchange.retain_history(&TopicName::new(HISTORY), HISTORY_LENGTH);
        Arc::new(Self {
            exchange,
            clock: clock.clone(),
            started: Instant::now(),
            clients: Mutex::default(),
            counts: Counts::default(),
        })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<ConnectionId, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a copy of the information about all connected sockets.
    pub(super) fn everybody(&self) -> HashMap<ConnectionId, Client> {
        self.clients().clone()
    }

    /// Connects a socket. Returns `None` if the event bus accepts no more connections.
    pub(super) fn enter(
        self: &Arc<Self>,
        generation: Generation,
        socket_id: &str,
    ) -> Option<(Member, Mailbox)> {
        let mailbox = self.exchange.connect(Identity::default(), &[]).ok()?;
        let (id, now) = (mailbox.id(), self.clock.now());
        let socket_id: Arc<str> = socket_id.into();
        self.clients().insert(
            id,
            Client {
                socket_id: Arc::clone(&socket_id),
                who: None,
                since: now,
                heard: now,
            },
        );
        self.counts.connections.fetch_add(1, Ordering::Relaxed);
        self.tell_admins(&words::client_notice(
            "client_connected",
            &socket_id,
            None,
            now,
        ));
        let member = Member {
            hall: Arc::clone(self),
            id,
            generation,
            socket_id,
            who: None,
            rooms: HashSet::new(),
        };
        Some((member, mailbox))
    }

    /// Sends an event to all members of the union of these rooms, once each. Returns `false` if
    /// no member received it because a shard is too far behind.
    pub(super) fn tell(
        &self,
        rooms: impl IntoIterator<Item = impl AsRef<str>>,
        packed: &Packed,
        from: Option<&Who>,
    ) -> bool {
        let rooms = rooms.into_iter().map(|room| TopicName::new(room.as_ref()));
        let mut publish = Publish::new(rooms, words::PACKED, packed.text());
        if let Some(user) = from {
            publish = publish.with_sender(UserId::new(&user.id));
        }
        let Ok(outcome) = self.exchange.publish(publish) else {
            return false;
        };
        self.counts
            .emitted
            .fetch_add(outcome.reached as u64, Ordering::Relaxed);
        self.counts
            .minute
            .add(self.clock.unix_s(), outcome.reached as u64);
        true
    }

    fn tell_admins(&self, packed: &Packed) {
        self.tell([ADMINS], packed, None);
    }

    /// Publishes a business event to the rooms that it concerns. Returns `false` if no client got
    /// it.
    pub(super) fn happened(&self, name: &str, data: &Value, from: Option<&Who>) -> bool {
        let mut rooms = Kind::of(name)
            .map(|kind| kind.rooms(data))
            .unwrap_or_default();
        rooms.extend([SECOND.to_owned(), HISTORY.to_owned()]);
        if !self.tell(
            rooms,
            &words::business(name, data, from, self.clock.now()),
            from,
        ) {
            return false;
        }
        self.counts.published.fetch_add(1, Ordering::Relaxed);
        if let Some((role, packed)) = words::business_of_role(name, data) {
            self.tell([role.as_str()], &packed, from);
        }
        true
    }

    /// Sends a system notification to all authenticated clients.
    pub(super) fn notify_all(&self, data: &Value) -> bool {
        self.tell(
            [FIRST, SECOND],
            &words::system_notification(data, self.clock.now()),
            None,
        )
    }

    pub(super) fn notify_role(&self, role: Role, name: &str, payload: &Value) -> bool {
        let rooms = [everybody(role), role.as_str().to_owned()];
        self.tell(rooms, &words::notice(name, payload, self.clock.now()), None)
    }

    pub(super) fn notify_user(&self, id: &str, name: &str, payload: &Value) -> bool {
        let rooms = Role::ALL
            .into_iter()
            .map(|role| personal(role, id))
            .chain([user(id)]);
        self.tell(rooms, &words::notice(name, payload, self.clock.now()), None)
    }

    /// Counts the rooms that these joins have opened.
    fn count_rooms(&self, joins: &[JoinRequest]) {
        let named = joins
            .iter()
            .filter(|join| !join.topic.as_str().starts_with('#'));
        let opened = named
            .filter(|join| self.exchange.presence_counts(&join.topic).connections == 1)
            .count();
        self.counts
            .rooms
            .fetch_add(opened as u64, Ordering::Relaxed);
    }
}

/// A socket's connection to the room service. Dropping it disconnects the socket from all rooms.
pub(super) struct Member {
    hall: Arc<Hall>,
    id: ConnectionId,
    pub(super) generation: Generation,
    pub(super) socket_id: Arc<str>,
    who: Option<Who>,
    /// The rooms that the client joined by name.
    rooms: HashSet<String>,
}

impl Member {
    pub(super) fn who(&self) -> Option<&Who> {
        self.who.as_ref()
    }

    /// Records activity of the client, for the inactivity limit.
    pub(super) fn touch(&self) {
        let now = self.hall.clock.now();
        if let Some(client) = self.hall.clients().get_mut(&self.id) {
            client.heard = now;
        }
    }

    /// Sets or changes the socket's user and joins the user's rooms; earlier memberships end.
    /// Returns `false` if the connection has ended.
    pub(super) fn identify(&mut self, user: Who) -> bool {
        let joins = user.rooms(self.generation);
        if self
            .hall
            .exchange
            .set_identity(self.id, user.identity(), &joins)
            .is_err()
        {
            return false;
        }
        self.rooms.clear();
        self.hall.count_rooms(&joins);
        if let Some(client) = self.hall.clients().get_mut(&self.id) {
            client.who = Some(user.clone());
        }
        let notice = words::client_notice(
            "client_authenticated",
            &self.socket_id,
            Some(&user),
            self.hall.clock.now(),
        );
        self.hall.tell_admins(&notice);
        self.who = Some(user);
        true
    }

    /// Joins a room by its name.
    ///
    /// # Errors
    /// Returns the message for the client if the room is refused.
    pub(super) fn join(&mut self, room: &str) -> Result<(), &'static str> {
        let user = self.who.as_ref().ok_or("No autenticado")?;
        if !user.may_join(room) {
            return Err("Sala no permitida");
        }
        if self.rooms.len() >= MAX_ROOMS && !self.rooms.contains(room) {
            return Err("Demasiadas salas");
        }
        let joins = [JoinRequest::new(TopicName::new(room))];
        let joined = self
            .hall
            .exchange
            .join(self.id, &joins)
            .map_err(|_| "No se pudo unir a la sala")?;
        if joined.new_topics > 0 {
            self.hall.count_rooms(&joins);
        }
        self.rooms.insert(room.to_owned());
        Ok(())
    }

    /// Leaves a room; the socket need not be a member.
    ///
    /// # Errors
    /// Returns the message for the client if the room is refused.
    pub(super) fn leave(&mut self, room: &str) -> Result<(), &'static str> {
        let user = self.who.as_ref().ok_or("No autenticado")?;
        if !user.may_join(room) {
            return Err("Sala no permitida");
        }
        self.hall.exchange.leave(self.id, &TopicName::new(room));
        self.rooms.remove(room);
        Ok(())
    }

    /// Publishes a business event in the name of the client.
    ///
    /// # Errors
    /// Returns the message for the client if the event is refused.
    pub(super) fn say(&self, kind: &Kind, name: &str, data: &Value) -> Result<(), &'static str> {
        let user = self.who.as_ref().ok_or("No autenticado")?;
        kind.may_say(user, data).map_err(|denied| match denied {
            Unsaid::Data => "Datos inválidos",
            Unsaid::Forbidden => "No autorizado",
        })?;
        if self.hall.happened(name, data, Some(user)) {
            Ok(())
        } else {
            Err("Servidor ocupado, intente de nuevo")
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The connection ends first, so that recipients of the event no longer find the socket.
        self.hall.exchange.disconnect(self.id);
        self.hall.clients().remove(&self.id);
        let now = self.hall.clock.now();
        self.hall.tell_admins(&words::client_notice(
            "client_disconnected",
            &self.socket_id,
            None,
            now,
        ));
    }
}

#[cfg(test)]
#[path = "hall_tests.rs"]
mod tests;
