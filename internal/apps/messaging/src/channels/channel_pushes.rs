//! The pushes on a joined channel, and the events that follow the join of a user's channel.

use serde_json::{Value, json};

use crate::api_version::ClientApiVersion;
use crate::channels::effect::{ChannelEffect, OperationError, error_reason};
use crate::channels::parse_push::{self, ParsedPush};
use crate::channels::reply;
use crate::channels::session::ChannelSession;
use crate::store::StoreResponse;
use latido_protocol::phoenix::{self, Push, PushPayload, ReplyStatus};

/// The time after which typing ends if the client does not repeat it, in seconds.
pub(super) const TYPING_TIMEOUT_S: i64 = 10;

impl ChannelSession {
    pub(super) fn handle_channel_push(
        &mut self,
        index: usize,
        push: Push,
        now_s: i64,
        effects: &mut Vec<ChannelEffect>,
    ) {
        self.fix_version(&push.event, effects);
        let PushPayload::Json(payload) = &push.payload else {
            return self.reply_error(&push, &error_reason("invalid_payload"), effects);
        };
        match parse_push::parse(&push.topic, &push.event, payload, self.api_version) {
            ParsedPush::Operation(reply_style, operation) => {
                self.start_operation(push, reply_style, operation, effects)
            }
            ParsedPush::Typing(is_typing) => self.set_typing(index, is_typing, now_s, effects),
            ParsedPush::Status(status, is_answered) => {
                let push = is_answered.then(|| Box::new(push));
                effects.push(ChannelEffect::SetStatus(status, push));
            }
            ParsedPush::Reply(response) => self.reply(&push, ReplyStatus::Ok, &response, effects),
            ParsedPush::Error(error) => self.reply_error(&push, &error, effects),
            ParsedPush::Ignore => {}
        }
    }

    /// Builds the reply to a push that sets a status.
    pub(crate) fn status_reply(
        &self,
        push: &Push,
        status: &str,
        outcome: Result<(), OperationError>,
        effects: &mut Vec<ChannelEffect>,
    ) {
        match outcome {
            Ok(()) => self.reply(push, ReplyStatus::Ok, &json!({"status": status}), effects),
            Err(failure) => self.reply_error(push, &reply::failure_payload(failure), effects),
        }
    }

    pub(super) fn fix_version(&mut self, event: &str, effects: &mut Vec<ChannelEffect>) {
        let Some(implied) = ClientApiVersion::implied_by(event).filter(|_| !self.is_version_fixed)
        else {
            return;
        };
        self.is_version_fixed = true;
        if implied != self.api_version {
            self.api_version = implied;
            effects.push(ChannelEffect::SwitchVersion(implied));
        }
    }

    pub(super) fn set_typing(
        &mut self,
        index: usize,
        is_typing: bool,
        now_s: i64,
        effects: &mut Vec<ChannelEffect>,
    ) {
        let channel = &mut self.channels[index];
        let was_typing = channel.typing_until_s.is_some();
        channel.typing_until_s = is_typing.then_some(now_s + TYPING_TIMEOUT_S);
        if is_typing || was_typing {
            effects.push(ChannelEffect::Typing(channel.topic.clone(), is_typing));
        }
    }

    /// Sends the events of a user's channel that follow the reply to its join.
    pub(super) fn send_user_sync(
        &self,
        push: &Push,
        answer: Result<StoreResponse, OperationError>,
        now_s: i64,
        effects: &mut Vec<ChannelEffect>,
    ) {
        // The client may have left the channel meanwhile.
        let Some(channel) = self
            .channels
            .iter()
            .find(|channel| channel.topic == push.topic)
        else {
            return;
        };
        let mut send = |event: &str, payload: Value| {
            let text = phoenix::encode_message(
                self.vsn,
                channel.join_ref.as_ref(),
                None,
                &push.topic,
                event,
                &payload.to_string(),
            );
            effects.push(ChannelEffect::SendText(text));
        };
        for (event, payload) in reply::user_sync_events(self.user, self.api_version, answer, now_s)
        {
            send(event, payload);
        }
    }
}
