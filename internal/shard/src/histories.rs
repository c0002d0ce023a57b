//! The histories that clients ask for. A client's frames of a channel are held back until its history
//! was sent, so that the history comes first.

use std::sync::Arc;

use crate::async_response::AsyncResponse;
use crate::client::{ConnectionState, ShardClient};
use crate::command::ShardCommand;
use crate::worker::ShardWorker;
use latido_hub::{HistoryReply, HistoryResult, HistoryUnavailable};
use latido_protocol::{ErrorCode, native};
use latido_session::RoomPosition;

impl ShardWorker {
    /// Holds back the frames of a subscription if its client asked for the history. If the stream has
    /// none, returns the frame that says so; otherwise returns no bytes.
    pub(super) fn hold_for_history(
        &mut self,
        client: &mut ShardClient,
        name: &Arc<str>,
        position: RoomPosition,
    ) -> Vec<u8> {
        let Some(session) = client.session_mut() else {
            return Vec::new();
        };
        if !session.awaits_history(name) {
            return Vec::new();
        }
        let catalog = &self.deps.context.catalog;
        let has_history = catalog
            .resolve(name)
            .is_ok_and(|channel| catalog.get(channel.topic.stream).history_query.is_some());
        if !has_history {
            session.on_no_history(name);
            return self.history_error(ErrorCode::NoHistory, native::NO_HISTORY_MESSAGE, name);
        }
        if let Some((room, index)) = self.rooms.member(position) {
            room.hold_member(index);
        }
        Vec::new()
    }

    /// Requests the next history that a client waits for. While its socket is full nothing is read for
    /// it.
    pub(super) fn start_history(&mut self, slot: u32, client: &mut ShardClient) {
        if client.outbox.is_some() || client.state != ConnectionState::Open {
            return;
        }
        let generation = client.generation;
        let context = &self.deps.context;
        let session = client.session_mut();
        let Some(channel) = session.and_then(|session| session.next_history(context)) else {
            return;
        };
        let (inbox, name) = (Arc::clone(&self.inbox), Arc::clone(&channel.name));
        let reply = HistoryReply::new(move |result| {
            inbox.put(ShardCommand::AsyncResponse {
                slot,
                generation,
                response: AsyncResponse::History(name, result),
            });
        });
        self.deps.hub.read_history(&channel, reply);
    }

    /// Sends a history, and then the newest frame of the channel.
    pub(super) fn on_history(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        name: &Arc<str>,
        result: HistoryResult,
    ) {
        let is_full = client.outbox.is_some();
        let Some(session) = client.session_mut() else {
            return;
        };
        // A slow client keeps no history beside its unsent bytes. It is read again once it can be
        // sent.
        if is_full {
            return session.postpone_history(name);
        }
        if let Some(position) = session.on_history(name) {
            if let Some((room, index)) = self.rooms.member(position) {
                room.release_member(index);
            }
            match result {
                Ok(frame) => self.push_frame(slot, client, &frame),
                Err(HistoryUnavailable) => {
                    let message = native::HISTORY_UNAVAILABLE_MESSAGE;
                    let error = self.history_error(ErrorCode::HistoryUnavailable, message, name);
                    self.push(slot, client, error);
                }
            }
            self.catch_up(slot, client);
        }
        self.start_history(slot, client);
    }

    fn history_error(&self, code: ErrorCode, message: &str, name: &str) -> Vec<u8> {
        self.deps.metrics.errors_sent.increment(code.as_str());
        native::encode_history_error(name, code, message)
            .as_bytes()
            .to_vec()
    }
}

#[cfg(test)]
#[path = "histories_tests.rs"]
mod tests;
