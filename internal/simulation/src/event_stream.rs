//! Clients of event streams, each of which follows several channels over one response. HTTP and its
//! rights are left out: a client takes what the hub gives to the subscriber of each channel.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use serde_json::Value;

use crate::topics::topic;
use crate::violation::Violation;
use latido_hub::{AsyncSubscriber, Hub, SubscriberEvent};

/// The number of clients of event streams.
pub(super) const EVENT_STREAMS: usize = 2;

/// The client of an event stream.
#[derive(Default)]
pub(super) struct SimEventStream {
    channels: BTreeMap<u8, FollowedChannel>,
    is_paused: bool,
}

/// A channel, with what the client was told of it last.
struct FollowedChannel {
    events: AsyncSubscriber,
    version: u64,
    data: Value,
    /// True if the client was told that the channel cannot be read, and no row came since.
    is_told: bool,
}

impl SimEventStream {
    /// Takes what has come. Returns whether anything had.
    pub(super) fn read(&mut self) -> Result<bool, Violation> {
        if self.is_paused {
            return Ok(false);
        }
        let mut has_read = false;
        for (number, channel) in &mut self.channels {
            while let Some(event) = channel.events.next().now_or_never() {
                has_read = true;
                channel
                    .take(event)
                    .map_err(|problem| format!("an event stream: topic {number}: {problem}"))?;
            }
        }
        Ok(has_read)
    }

    /// Asserts that a client that reads has the newest row of each channel, and knows of each failure.
    pub(super) fn check(&self, hub: &Hub) -> Result<(), Violation> {
        if self.is_paused {
            return Ok(());
        }
        for (number, channel) in &self.channels {
            let topic = topic(*number);
            let is_unreadable = hub.is_unreadable(&topic);
            let newest = hub.latest_version(&topic).map_or(0, |version| version.0);
            let FollowedChannel {
                version, is_told, ..
            } = channel;
            if *is_told != is_unreadable || !is_unreadable && *version != newest {
                return Err(format!(
                    "an event stream has version {version} of topic {number}, of {newest}, and was told of a failure: {is_told}, which is {is_unreadable}"
                ));
            }
        }
        Ok(())
    }

    /// Returns the last row of each topic, and whether it is taken for failing.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u8, &Value, bool)> {
        let channels = self.channels.iter();
        channels.map(|(number, channel)| (*number, &channel.data, channel.is_told))
    }

    /// Returns the number of channels.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Reads nothing for a while.
    pub(super) fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Goes on reading.
    pub(super) fn resume(&mut self) {
        self.is_paused = false;
    }

    pub(super) fn follows(&self, number: u8) -> bool {
        self.channels.contains_key(&number)
    }

    /// Follows one more channel.
    pub(super) fn follow(&mut self, number: u8, events: AsyncSubscriber) {
        let followed = FollowedChannel {
            events,
            version: 0,
            data: Value::Null,
            is_told: false,
        };
        self.channels.insert(number, followed);
    }

    /// Gives a channel up.
    pub(super) fn give_up(&mut self, number: u8) {
        self.channels.remove(&number);
    }
}

impl FollowedChannel {
    fn take(&mut self, event: SubscriberEvent) -> Result<(), Violation> {
        match event {
            SubscriberEvent::Frame(frame) => {
                let version = frame.version.0;
                if version <= self.version {
                    return Err(format!("version {version} came after {}", self.version));
                }
                let message: Value = serde_json::from_str(frame.frame.payload()).unwrap();
                self.data = message["data"].clone();
                (self.version, self.is_told) = (version, false);
            }
            SubscriberEvent::Unreadable(..) => self.is_told = true,
            SubscriberEvent::Status(_) => {}
        }
        Ok(())
    }
}
