//! Who is on a topic: users, with one entry for each of their connections.

use std::collections::HashMap;
use std::sync::Arc;

use crate::hub::exchange::{ConnId, Identity};
use crate::ident::UserId;

/// What a topic does about presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// Nothing is kept.
    #[default]
    Off,
    /// Members with a user are listed and counted.
    Listed,
    /// And members are told: the whole list when they join, then every change. Every join then costs a list, so this is for topics of
    /// hundreds, not of ten thousands.
    Announced,
}

/// One connection of a user on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The connection.
    pub connection: ConnId,
    /// Unlike that of any other entry there is or was in the exchange; an entry that changes gets a new one.
    pub reference: u64,
    /// JSON text of the connection's choice, passed on untouched.
    pub meta: Arc<str>,
}

/// A user on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Who.
    pub user: UserId,
    /// One for each connection, oldest first; never empty.
    pub entries: Vec<Entry>,
}

/// What a change means for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The first connection: the user was not there, and is.
    Came,
    /// One connection more.
    More,
    /// A connection has another meta now.
    Updated,
    /// One connection less, and there are others.
    Fewer,
    /// The last connection: the user was there, and is no more.
    Went,
}

/// One change of one entry.
#[derive(Debug, Clone)]
pub struct Diff {
    /// Who the connection was when it changed.
    pub identity: Arc<Identity>,
    /// Whose entry.
    pub user: UserId,
    /// What it means.
    pub change: Change,
    /// The entry that is there now and was not before.
    pub joined: Option<Entry>,
    /// The entry that was there and is no more.
    pub left: Option<Entry>,
}

/// How many are on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Different users that are listed.
    pub users: usize,
    /// Connections, listed or not.
    pub connections: usize,
}

/// A topic's list.
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

    /// Gives a connection's entry another meta and reference.
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

    /// Takes a connection's entry away.
    pub(super) fn leave(&mut self, identity: &Arc<Identity>, connection: ConnId) -> Option<Diff> {
        let user = identity.user.clone()?;
        let entries = self.users.get_mut(&user)?;
        let place = entries
            .iter()
            .position(|entry| entry.connection == connection)?;
        let left = entries.remove(place);
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

    /// Everybody, in the order of their ids.
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
