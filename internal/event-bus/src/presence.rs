//! The presence list of a topic: its users, with one entry for each of their connections.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{ConnectionId, Identity};
use latido_base::ident::UserId;

/// The presence mode of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PresenceMode {
    /// The topic keeps no presence list.
    #[default]
    Off,
    /// Members with a user are listed and counted.
    Listed,
    /// Members are listed and also notified: they get the whole list when they join, and then every
    /// change. Every join costs a full list, so this mode suits topics with hundreds of members,
    /// not tens of thousands.
    Announced,
}

/// The presence entry of one connection of a user on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceEntry {
    /// The connection that the entry belongs to.
    pub connection: ConnectionId,
    /// A number that no other entry of the bus has or had. An updated entry gets a new one.
    pub reference: u64,
    /// The connection's metadata as JSON text, delivered unchanged.
    pub meta: Arc<str>,
}

/// A user who is present on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentUser {
    /// The id of the user.
    pub user: UserId,
    /// One entry for each connection, oldest first; never empty.
    pub entries: Vec<PresenceEntry>,
}

/// The meaning of a presence change for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceChange {
    /// The user's first connection joined.
    UserJoined,
    /// A further connection of the user joined.
    ConnectionAdded,
    /// The metadata of a connection changed.
    MetaUpdated,
    /// A connection left, and the user has others.
    ConnectionRemoved,
    /// The user's last connection left.
    UserLeft,
}

/// One change of one presence entry.
#[derive(Debug, Clone)]
pub struct PresenceDiff {
    /// The connection's identity at the time of the change.
    pub identity: Arc<Identity>,
    /// The user whose entry changed.
    pub user: UserId,
    /// The meaning of the change for the user.
    pub change: PresenceChange,
    /// The entry that was added, if any.
    pub added: Option<PresenceEntry>,
    /// The entry that was removed, if any.
    pub removed: Option<PresenceEntry>,
}

/// The number of users and connections on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PresenceCounts {
    /// The number of different users on the presence list.
    pub users: usize,
    /// The number of connections, listed or not.
    pub connections: usize,
}

/// The presence list of one topic.
#[derive(Debug, Default)]
pub(super) struct PresenceMap {
    users: HashMap<UserId, Vec<PresenceEntry>>,
}

impl PresenceMap {
    pub(super) fn users(&self) -> usize {
        self.users.len()
    }

    /// Adds an entry for a connection that has none here.
    pub(super) fn add(
        &mut self,
        identity: &Arc<Identity>,
        entry: PresenceEntry,
    ) -> Option<PresenceDiff> {
        let user = identity.user.clone()?;
        let entries = self.users.entry(user.clone()).or_default();
        let change = if entries.is_empty() {
            PresenceChange::UserJoined
        } else {
            PresenceChange::ConnectionAdded
        };
        if entries.is_empty() {
            // Nearly every user has one connection.
            entries.reserve_exact(1);
        }
        entries.push(entry.clone());
        Some(PresenceDiff {
            identity: Arc::clone(identity),
            user,
            change,
            added: Some(entry),
            removed: None,
        })
    }

    /// Replaces the metadata and the reference of a connection's entry.
    pub(super) fn update(
        &mut self,
        identity: &Arc<Identity>,
        entry: PresenceEntry,
    ) -> Option<PresenceDiff> {
        let user = identity.user.clone()?;
        let entries = self.users.get_mut(&user)?;
        let old = entries
            .iter_mut()
            .find(|old| old.connection == entry.connection)?;
        let left = std::mem::replace(old, entry.clone());
        Some(PresenceDiff {
            identity: Arc::clone(identity),
            user,
            change: PresenceChange::MetaUpdated,
            added: Some(entry),
            removed: Some(left),
        })
    }

    /// Removes the entry of a connection.
    pub(super) fn remove(
        &mut self,
        identity: &Arc<Identity>,
        connection: ConnectionId,
    ) -> Option<PresenceDiff> {
        let user = identity.user.clone()?;
        let entries = self.users.get_mut(&user)?;
        let position = entries
            .iter()
            .position(|entry| entry.connection == connection)?;
        let left = entries.remove(position);
        let change = if entries.is_empty() {
            PresenceChange::UserLeft
        } else {
            PresenceChange::ConnectionRemoved
        };
        if entries.is_empty() {
            self.users.remove(&user);
        }
        Some(PresenceDiff {
            identity: Arc::clone(identity),
            user,
            change,
            added: None,
            removed: Some(left),
        })
    }

    /// Returns all users with their entries, sorted by user id.
    pub(super) fn list(&self) -> Vec<PresentUser> {
        let present = |(user, entries): (&UserId, &Vec<PresenceEntry>)| PresentUser {
            user: user.clone(),
            entries: entries.clone(),
        };
        let mut list: Vec<_> = self.users.iter().map(present).collect();
        list.sort_unstable_by(|a, b| a.user.as_str().cmp(b.user.as_str()));
        list
    }
}
