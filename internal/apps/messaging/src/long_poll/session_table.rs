//! The sessions by their slots, and the index of their tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::long_poll::poll_session::PollSession;
use crate::long_poll::request::TOKEN_PREFIX;
use latido_event_bus::ConnectionSlot;

/// The random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// The slots of the sessions by their tokens. The requests look there, so that a POST without a
/// session is refused before its body is read. Clones share the same index.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenIndex(Arc<Mutex<HashMap<Box<str>, ConnectionSlot>>>);

impl TokenIndex {
    pub(super) fn slot(&self, token: &str) -> Option<ConnectionSlot> {
        self.lock().get(token).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, ConnectionSlot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct TableSlot {
    /// The number of times that the slot was assigned.
    generation: u32,
    session: Option<(Box<str>, PollSession)>,
}

/// The sessions by their slots.
#[derive(Default)]
pub(super) struct SessionTable {
    slots: Vec<TableSlot>,
    free: Vec<u32>,
    pub(super) tokens: TokenIndex,
}

impl SessionTable {
    /// Adds a session, which is created for its slot. Returns its token, or `None` if the system
    /// gives no random numbers.
    pub(super) fn insert(
        &mut self,
        create: impl FnOnce(ConnectionSlot) -> PollSession,
    ) -> Option<Box<str>> {
        let token = random_token()?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(TableSlot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = self.slots.get_mut(index as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        let address = ConnectionSlot {
            index,
            generation: slot.generation,
        };
        slot.session = Some((token.clone(), create(address)));
        self.tokens.lock().insert(token.clone(), address);
        Some(token)
    }

    pub(super) fn get(&self, slot: ConnectionSlot) -> Option<&PollSession> {
        let found = self.slots.get(slot.index as usize)?;
        let is_same = found.generation == slot.generation;
        found
            .session
            .as_ref()
            .filter(|_| is_same)
            .map(|(_, session)| session)
    }

    pub(super) fn get_mut(&mut self, slot: ConnectionSlot) -> Option<&mut PollSession> {
        let found = self.slots.get_mut(slot.index as usize)?;
        let is_same = found.generation == slot.generation;
        found
            .session
            .as_mut()
            .filter(|_| is_same)
            .map(|(_, session)| session)
    }

    pub(super) fn remove(&mut self, slot: ConnectionSlot) {
        if self.get(slot).is_none() {
            return;
        }
        if let Some((token, _)) = self.slots[slot.index as usize].session.take() {
            self.tokens.lock().remove(&token);
            self.free.push(slot.index);
        }
    }

    /// Returns the number of sessions of the user of this one. Sessions without a user are of none.
    pub(super) fn sessions_of_same_user(&self, slot: ConnectionSlot) -> usize {
        let user = self.get(slot).and_then(PollSession::user);
        let Some(user) = user else { return 0 };
        let sessions = self.slots.iter().filter_map(|slot| slot.session.as_ref());
        sessions
            .filter(|(_, session)| session.user() == Some(user))
            .count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Returns the slots of all sessions.
    pub(super) fn slots(&self) -> Vec<ConnectionSlot> {
        let slots = (0..).zip(&self.slots);
        slots
            .filter(|(_, slot)| slot.session.is_some())
            .map(|(index, slot)| ConnectionSlot {
                index,
                generation: slot.generation,
            })
            .collect()
    }
}

fn random_token() -> Option<Box<str>> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes)
        .inspect_err(|error| tracing::error!(%error, "the system gives no random numbers"))
        .ok()?;
    Some(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into())
}
