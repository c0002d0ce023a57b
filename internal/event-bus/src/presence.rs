//! The presence list of a topic: its users, with one entry for each of their connections.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{ConnId, Identity};
use latido_base::ident::UserId;

/// The presence mode of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
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
pub struct Entry {
    /// The connection that the entry belongs to.
    pub connection: ConnId,
    /// A number that no other entry of the bus has or had. An updated entry gets a new one.
    pub reference: u64,
    /// The connection's metadata as JSON text, delivered unchanged.
    pub meta: Arc<str>,
}

/// A user who is present on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The id of the user.
    pub user: UserId,
    /// One entry for each connection, oldest first; never empty.
    pub entries: Vec<Entry>,
}

/// The meaning of a presence change for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The user's first connection joined.
    Came,
    /// A further connection of the user joined.
    More,
    /// The metadata of a connection changed.
    Updated,
    /// A connection left, and the user has others.
    Fewer,
    /// The user's last connection left.
    Went,
}

/// One change of one presence entry.
#[derive(Debug, Clone)]
pub struct Diff {
    /// The connection's identity at the time of the change.
    pub identity: Arc<Identity>,
    /// The user whose entry changed.
    pub user: UserId,
    /// The meaning of the change for the user.
    pub change: Change,
    /// The entry that was added, if any.
    pub joined: Option<Entry>,
    /// The entry that was removed, if any.
    pub left: Option<Entry>,
}

/// The number of users and connections on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The number of different users on the presence list.
    pub users: usize,
    /// The number of connections, listed or not.
    pub connections: usize,
}

/// The presence list of one topic.
#[derive(Debug, Default)]
pub(super) struct Roster {
    users: HashMap<UserId, Vec<Entry>>,
}

impl Roster {
    pub(super) fn users(&self) -> usize {
        self.users.len()
    }

    /// Adds an entry for a connection that has none here.
    pub(super) fn join(&mut self, identity: &Arc<Identity>, entry: Entry) -> Option<Diff> {
        let user = identity.user.clone()?;
        let entries = self.users.entry(user.clone()).or_default();
        let change = if entries.is_empty() {
            Change::Came
        } else {
            Change::More
        };
        entries.push(entry.clone());
        Some(Diff {
            identity: Arc::clone(identity),
            user,
            change,
            joined: Some(entry),
            left: None,
        })
    }

    /// Replaces the metadata and the reference of a connection's entry.
    pub(super) fn update(&mut self, identity: &Arc<Identity>, entry: Entry) -> Option<Diff> {
        let user = identity.user.clone()?;
        let entries = self.users.get_mut(&user)?;
        let old = entries
            .iter_mut()
            .find(|old| old.connection == entry.connection)?;
        let left = std::mem::replace(old, entry.clone());
        Some(Diff {
            identity: Arc::clone(identity),
            user,
            change: Change::Updated,
            joined: Some(entry),
            left: Some(left),
        })
    }

    /// Removes the entry of a connection.
    pub(super) fn leave(&mut self, identity: &Arc<Identity>, connection: ConnId) -> Option<Diff> {
        let user = identity.user.clone()?;
        let entries = self.users.get_mut(&user)?;
        let position = entries
            .iter()
            .position(|entry| entry.connection == connection)?;
        let left = entries.remove(position);
        let change = if entries.is_empty() {
            Change::Went
        } else {
            Change::Fewer
        };
        if entries.is_empty() {
            self.users.remove(&user);
        }
        Some(Diff {
            identity: Arc::clone(identity),
            user,
            change,
            joined: None,
            left: Some(left),
        })
    }

    /// Returns all users with their entries, sorted by user id.
    pub(super) fn list(&self) -> Vec<Present> {
        let present = |(user, entries): (&UserId, &Vec<Entry>)| Present {
            user: user.clone(),
            entries: entries.clone(),
        };
        let mut list: Vec<_> = self.users.iter().map(present).collect();
        list.sort_unstable_by(|a, b| a.user.as_str().cmp(b.user.as_str()));
        list
    }
}
