//! Everybody who is connected, in whatever room, and what is said there.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use crate::apps::gateway::business::{Kind, Unsaid};
use crate::apps::gateway::minute::Minute;
use crate::apps::gateway::who::{
    ADMINS, FIRST, Generation, HISTORY, Role, SECOND, Who, everybody, personal, user,
};
use crate::apps::gateway::words::{self, Packed};
use crate::clock::Clock;
use crate::hub::exchange::{
    ConnId, Diff, Exchange, Identity, Join, Mailbox, Presence, Publish, Rules, TopicName,
};
use crate::ident::UserId;

/// Events that the history keeps.
pub(super) const HISTORY_LENGTH: usize = 100;
/// Rooms that a client may join by their names.
const MAX_ROOMS: usize = 100;

/// Lists and counts are made from the connections themselves, so the rooms need no presence.
struct NoPresence;

impl Rules for NoPresence {
    fn presence(&self, _: &TopicName) -> Presence {
        Presence::Off
    }

    fn notices(&self, _: &TopicName, _: &Diff) -> Vec<Publish> {
        Vec::new()
    }
}

/// A connected socket, for the dashboard.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) socket_id: Arc<str>,
    pub(super) who: Option<Who>,
    pub(super) since: Timestamp,
    pub(super) heard: Timestamp,
}

/// One a server. See the module's documentation.
pub(super) struct Hall {
    pub(super) exchange: Arc<Exchange>,
    pub(super) clock: Clock,
    pub(super) started: Instant,
    /// By connection. Locked for one look-up, or for a copy of it when somebody looks at the dashboard.
    clients: Mutex<HashMap<ConnId, Client>>,
    pub(super) counts: Counts,
}

/// Counted since the start. Relaxed: each stands for itself.
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
        let exchange = Arc::new(Exchange::new(NoPresence, move || {
            now.now().as_microsecond()
        }));
        exchange.declare(&TopicName::new(HISTORY), HISTORY_LENGTH);
        Arc::new(Self {
            exchange,
            clock: clock.clone(),
            started: Instant::now(),
            clients: Mutex::default(),
            counts: Counts::default(),
        })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<ConnId, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of every connected socket.
    pub(super) fn everybody(&self) -> HashMap<ConnId, Client> {
        self.clients().clone()
    }

    /// A socket comes in. None: the exchange takes no more.
    pub(super) fn enter(
        self: &Arc<Self>,
        generation: Generation,
        socket_id: &str,
    ) -> Option<(Member, Mailbox)> {
        let mailbox = self.exchange.open(Identity::default(), &[]).ok()?;
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

    /// Gives something to everybody in the union of these rooms, each once. False: nobody got it, since a shard is too far behind.
    pub(super) fn tell(
        &self,
        rooms: impl IntoIterator<Item = impl AsRef<str>>,
        packed: &Packed,
        from: Option<&Who>,
    ) -> bool {
        let rooms = rooms.into_iter().map(|room| TopicName::new(room.as_ref()));
        let mut publish = Publish::new(rooms, words::PACKED, packed.text());
        if let Some(who) = from {
            publish = publish.from(UserId::new(&who.id));
        }
        let Ok(published) = self.exchange.publish(publish) else {
            return false;
        };
        self.counts
            .emitted
            .fetch_add(published.reached as u64, Ordering::Relaxed);
        self.counts
            .minute
            .add(self.clock.unix_s(), published.reached as u64);
        true
    }

    fn tell_admins(&self, packed: &Packed) {
        self.tell([ADMINS], packed, None);
    }

    /// Something happened in the business: told to whom it concerns. False: nobody got it.
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

    /// To everybody identified.
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
    fn count_rooms(&self, joins: &[Join]) {
        let named = joins
            .iter()
            .filter(|join| !join.topic.as_str().starts_with('#'));
        let opened = named
            .filter(|join| self.exchange.counts(&join.topic).connections == 1)
            .count();
        self.counts
            .rooms
            .fetch_add(opened as u64, Ordering::Relaxed);
    }
}

/// A socket in the hall. It leaves when this is dropped.
pub(super) struct Member {
    hall: Arc<Hall>,
    id: ConnId,
    pub(super) generation: Generation,
    pub(super) socket_id: Arc<str>,
    who: Option<Who>,
    /// Joined by name.
    rooms: HashSet<String>,
}

impl Member {
    pub(super) fn who(&self) -> Option<&Who> {
        self.who.as_ref()
    }

    /// The client said something.
    pub(super) fn touch(&self) {
        let now = self.hall.clock.now();
        if let Some(client) = self.hall.clients().get_mut(&self.id) {
            client.heard = now;
        }
    }

    /// From now on it is somebody, or somebody else; then nothing of the rooms before stays. False: the connection has ended.
    pub(super) fn identify(&mut self, who: Who) -> bool {
        let joins = who.rooms(self.generation);
        if self
            .hall
            .exchange
            .identify(self.id, who.identity(), &joins)
            .is_err()
        {
            return false;
        }
        self.rooms.clear();
        self.hall.count_rooms(&joins);
        if let Some(client) = self.hall.clients().get_mut(&self.id) {
            client.who = Some(who.clone());
        }
        let notice = words::client_notice(
            "client_authenticated",
            &self.socket_id,
            Some(&who),
            self.hall.clock.now(),
        );
        self.hall.tell_admins(&notice);
        self.who = Some(who);
        true
    }

    /// Joins a room by its name.
    pub(super) fn join(&mut self, room: &str) -> Result<(), &'static str> {
        let who = self.who.as_ref().ok_or("No autenticado")?;
        if !who.may_join(room) {
            return Err("Sala no permitida");
        }
        if self.rooms.len() >= MAX_ROOMS && !self.rooms.contains(room) {
            return Err("Demasiadas salas");
        }
        let joins = [Join::new(TopicName::new(room))];
        let joined = self
            .hall
            .exchange
            .join(self.id, &joins)
            .map_err(|_| "No se pudo unir a la sala")?;
        if joined.new > 0 {
            self.hall.count_rooms(&joins);
        }
        self.rooms.insert(room.to_owned());
        Ok(())
    }

    /// Leaves one; it need not be there.
    pub(super) fn leave(&mut self, room: &str) -> Result<(), &'static str> {
        let who = self.who.as_ref().ok_or("No autenticado")?;
        if !who.may_join(room) {
            return Err("Sala no permitida");
        }
        self.hall.exchange.leave(self.id, &TopicName::new(room));
        self.rooms.remove(room);
        Ok(())
    }

    /// Says something of the business.
    pub(super) fn say(&self, kind: &Kind, name: &str, data: &Value) -> Result<(), &'static str> {
        let who = self.who.as_ref().ok_or("No autenticado")?;
        kind.may_say(who, data).map_err(|unsaid| match unsaid {
            Unsaid::Data => "Datos inválidos",
            Unsaid::Forbidden => "No autorizado",
        })?;
        if self.hall.happened(name, data, Some(who)) {
            Ok(())
        } else {
            Err("Servidor ocupado, intente de nuevo")
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Whoever hears of it must not find it there any more.
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
