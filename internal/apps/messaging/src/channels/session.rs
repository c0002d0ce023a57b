//! The state of one socket, and the pushes that join and leave channels.

use std::collections::VecDeque;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::api_version::{ClientApiVersion, conversation_channel, user_channel};
use crate::channels::effect::{ChannelEffect, ErrorPayload, OperationError, error_reason};
use crate::channels::parse_push::ReplyStyle;
use crate::channels::reply;
use crate::store::{StoreOperation, StoreResponse};
use latido_protocol::phoenix::{self, Push, Reference, ReplyStatus, SerializerVersion};

/// The largest number of channels that one socket may join.
pub(super) const MAX_CHANNELS: usize = 100;
/// The largest number of pushes, and of bytes in them, that may wait for the operation in progress.
pub(super) const MAX_QUEUED: usize = 64;
pub(super) const MAX_QUEUED_BYTES: usize = 512 * 1024;

/// A channel that the socket has joined.
#[derive(Debug)]
pub(super) struct JoinedChannel {
    pub(super) topic: Box<str>,
    pub(super) join_ref: Option<Reference>,
    /// The end of the current typing, in Unix seconds.
    pub(super) typing_until_s: Option<i64>,
}

/// The push whose operation is in progress.
#[derive(Debug)]
pub(super) struct InFlightPush {
    pub(super) push: Push,
    pub(super) reply_style: ReplyStyle,
}

/// The state of one socket; see the module's documentation.
#[derive(Debug)]
pub(crate) struct ChannelSession {
    pub(super) user: Uuid,
    pub(super) vsn: SerializerVersion,
    pub(super) api_version: ClientApiVersion,
    /// `true` once a push that only one version has fixed the API version.
    pub(super) is_version_fixed: bool,
    pub(super) channels: Vec<JoinedChannel>,
    pub(super) in_flight: Option<InFlightPush>,
    /// The queued pushes, each with its frame's size in bytes.
    pub(super) queued: VecDeque<(Push, usize)>,
    pub(super) queued_bytes: usize,
}

impl ChannelSession {
    pub(crate) fn new(user: Uuid, vsn: SerializerVersion, api_version: ClientApiVersion) -> Self {
        Self {
            user,
            vsn,
            api_version,
            is_version_fixed: false,
            channels: Vec::new(),
            in_flight: None,
            queued: VecDeque::new(),
            queued_bytes: 0,
        }
    }

    pub(crate) fn vocabulary(&self) -> ClientApiVersion {
        self.api_version
    }

    /// Returns the topics of the joined channels.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|channel| &*channel.topic)
    }

    /// Handles a text frame of the client.
    pub(crate) fn on_text(&mut self, text: &str, now_s: i64, effects: &mut Vec<ChannelEffect>) {
        match phoenix::decode(self.vsn, text) {
            Ok(push) => self.on_push(push, text.len(), now_s, effects),
            Err(_) => effects.push(ChannelEffect::Close(
                1003,
                "not a frame of the version asked for",
            )),
        }
    }

    /// Handles a binary frame of the client.
    pub(crate) fn on_binary(&mut self, bytes: &[u8], now_s: i64, effects: &mut Vec<ChannelEffect>) {
        match phoenix::decode_binary(bytes) {
            Ok(push) if self.vsn == SerializerVersion::V2 => {
                self.on_push(push, bytes.len(), now_s, effects)
            }
            _ => effects.push(ChannelEffect::Close(1003, "not a binary push of version 2")),
        }
    }

    fn on_push(&mut self, push: Push, bytes: usize, now_s: i64, effects: &mut Vec<ChannelEffect>) {
        if &*push.topic == "phoenix" {
            let known = &*push.event == "heartbeat";
            let (status, response) = if known {
                (ReplyStatus::Ok, json!({}))
            } else {
                (ReplyStatus::Error, error_reason("unmatched topic").0)
            };
            return self.reply(&push, status, &response, effects);
        }
        if self.in_flight.is_none() {
            return self.handle_push(push, now_s, effects);
        }
        if self.queued.len() >= MAX_QUEUED || self.queued_bytes + bytes > MAX_QUEUED_BYTES {
            return self.reply_error(&push, &error_reason("overloaded"), effects);
        }
        self.queued_bytes += bytes;
        self.queued.push_back((push, bytes));
    }

    /// Handles the result of the operation in progress, then continues with the queued pushes.
    pub(crate) fn on_result(
        &mut self,
        answer: Result<StoreResponse, OperationError>,
        now_s: i64,
        effects: &mut Vec<ChannelEffect>,
    ) {
        let Some(InFlightPush { push, reply_style }) = self.in_flight.take() else {
            return;
        };
        match (reply_style, answer) {
            (ReplyStyle::UserSync, answer) => self.send_user_sync(&push, answer, now_s, effects),
            (ReplyStyle::Join, Ok(answer)) => self.on_membership(&push, &answer, effects),
            (reply_style, answer) => {
                let (status, mut response) =
                    reply::reply_for(reply_style, self.api_version, answer);
                if reply_style == ReplyStyle::MarkAllRead {
                    reply::insert_malformed_ids(&push, &mut response);
                }
                self.reply(&push, status, &response, effects);
            }
        }
        while self.in_flight.is_none()
            && let Some((push, bytes)) = self.queued.pop_front()
        {
            self.queued_bytes -= bytes;
            self.handle_push(push, now_s, effects);
        }
    }

    /// Returns the time at which [`ChannelSession::on_timer`] should be called next, in Unix
    /// seconds.
    pub(crate) fn next_timer(&self) -> Option<i64> {
        self.channels
            .iter()
            .filter_map(|channel| channel.typing_until_s)
            .min()
    }

    /// Ends typing that the client has not ended itself.
    pub(crate) fn on_timer(&mut self, now_s: i64, effects: &mut Vec<ChannelEffect>) {
        for channel in &mut self.channels {
            if channel.typing_until_s.is_some_and(|until| until <= now_s) {
                channel.typing_until_s = None;
                effects.push(ChannelEffect::Typing(channel.topic.clone(), false));
            }
        }
    }

    /// Removes a channel after the client was notified of its end.
    pub(crate) fn remove_channel(&mut self, topic: &str, effects: &mut Vec<ChannelEffect>) {
        let Some(index) = self
            .channels
            .iter()
            .position(|channel| *channel.topic == *topic)
        else {
            return;
        };
        let channel = self.channels.swap_remove(index);
        if channel.typing_until_s.is_some() {
            effects.push(ChannelEffect::Typing(channel.topic, false));
        }
    }

    /// Ends all typing, because the connection has closed.
    pub(crate) fn on_disconnect(&mut self, effects: &mut Vec<ChannelEffect>) {
        self.on_timer(i64::MAX, effects);
    }

    fn handle_push(&mut self, push: Push, now_s: i64, effects: &mut Vec<ChannelEffect>) {
        match &*push.event {
            "phx_join" => self.handle_join(push, effects),
            "phx_leave" => self.handle_leave(&push, effects),
            _ => match self
                .channels
                .iter()
                .position(|channel| channel.topic == push.topic)
            {
                None => self.reply_error(&push, &error_reason("unmatched topic"), effects),
                // The push belongs to an earlier join, and the client no longer expects a reply.
                Some(index)
                    if push.join_ref.is_some()
                        && self.channels[index].join_ref != push.join_ref => {}
                Some(index) => self.handle_channel_push(index, push, now_s, effects),
            },
        }
    }

    fn handle_join(&mut self, push: Push, effects: &mut Vec<ChannelEffect>) {
        if let Some(index) = self
            .channels
            .iter()
            .position(|channel| channel.topic == push.topic)
        {
            self.close_channel(index, effects);
        }
        if self.channels.len() >= MAX_CHANNELS {
            return self.reply(
                &push,
                ReplyStatus::Error,
                &error_reason("too many channels joined").0,
                effects,
            );
        }
        match push.topic.split_once(':') {
            Some(("user", _)) if *push.topic == *user_channel(self.user) => {
                let response = json!({"status": "connected", "user_id": self.user});
                self.add_channel(&push, &response, effects);
                self.start_operation(
                    push,
                    ReplyStyle::UserSync,
                    StoreOperation::SyncUser,
                    effects,
                );
            }
            Some(("user", _)) => self.reply_error(&push, &error_reason("unauthorized"), effects),
            // Only the canonical form is valid: broadcasts carry it, and a client matches a channel
            // by the exact name that it joined.
            Some(("conversation", id)) => match id
                .parse()
                .ok()
                .filter(|id| *push.topic == *conversation_channel(*id))
            {
                Some(id) => self.start_operation(
                    push,
                    ReplyStyle::Join,
                    StoreOperation::CheckMembership(id),
                    effects,
                ),
                None => self.reply(
                    &push,
                    ReplyStatus::Error,
                    &error_reason("conversation_not_found").0,
                    effects,
                ),
            },
            _ => self.reply_error(&push, &error_reason("unmatched topic"), effects),
        }
    }

    fn add_channel(&mut self, push: &Push, response: &Value, effects: &mut Vec<ChannelEffect>) {
        let join_ref = push.join_ref.clone();
        self.channels.push(JoinedChannel {
            topic: push.topic.clone(),
            join_ref,
            typing_until_s: None,
        });
        self.reply(push, ReplyStatus::Ok, response, effects);
        effects.push(ChannelEffect::Subscribe(push.topic.clone()));
    }

    fn on_membership(
        &mut self,
        push: &Push,
        answer: &StoreResponse,
        effects: &mut Vec<ChannelEffect>,
    ) {
        match reply::join_reply(self.api_version, answer) {
            Ok(response) => self.add_channel(push, &response, effects),
            Err(error) => self.reply_error(push, &error, effects),
        }
    }

    fn handle_leave(&mut self, push: &Push, effects: &mut Vec<ChannelEffect>) {
        self.reply(push, ReplyStatus::Ok, &json!({}), effects);
        let index = self
            .channels
            .iter()
            .position(|channel| channel.topic == push.topic);
        if let Some(index) = index.filter(|index| {
            push.join_ref.is_none() || self.channels[*index].join_ref == push.join_ref
        }) {
            self.close_channel(index, effects);
        }
    }

    /// Ends a channel and sends `phx_close` to the client.
    fn close_channel(&mut self, index: usize, effects: &mut Vec<ChannelEffect>) {
        let channel = self.channels.swap_remove(index);
        if channel.typing_until_s.is_some() {
            effects.push(ChannelEffect::Typing(channel.topic.clone(), false));
        }
        effects.push(ChannelEffect::Unsubscribe(channel.topic.clone()));
        let join_ref = channel.join_ref.as_ref();
        effects.push(ChannelEffect::SendText(phoenix::encode_message(
            self.vsn,
            join_ref,
            join_ref,
            &channel.topic,
            "phx_close",
            "{}",
        )));
    }

    pub(super) fn start_operation(
        &mut self,
        push: Push,
        reply_style: ReplyStyle,
        operation: StoreOperation,
        effects: &mut Vec<ChannelEffect>,
    ) {
        self.in_flight = Some(InFlightPush { push, reply_style });
        effects.push(ChannelEffect::Execute(operation));
    }

    pub(super) fn reply_error(
        &self,
        push: &Push,
        error: &ErrorPayload,
        effects: &mut Vec<ChannelEffect>,
    ) {
        self.reply(push, ReplyStatus::Error, &error.0, effects);
    }

    /// Replies to a push. A push without a reference expects no reply.
    pub(super) fn reply(
        &self,
        push: &Push,
        status: ReplyStatus,
        response: &Value,
        effects: &mut Vec<ChannelEffect>,
    ) {
        if push.reference.is_some() {
            effects.push(ChannelEffect::SendText(phoenix::encode_reply(
                self.vsn,
                push,
                status,
                &response.to_string(),
            )));
        }
    }
}
