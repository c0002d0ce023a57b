//! The effect of the steps of event streams.

use crate::event_stream::{EVENT_STREAMS, SimEventStream};
use crate::stream_step::StreamStep;
use crate::topics::{TOPICS, channel};
use crate::world::SimWorld;

impl SimWorld {
    pub(super) fn apply_stream_step(&mut self, step: StreamStep) {
        match step {
            StreamStep::Follow(client, number, long) => {
                let number = number % TOPICS;
                let name = channel(number, long);
                let channel = self.server.catalog.resolve(&name).unwrap();
                if self.event_stream(client).follows(number) {
                    return;
                }
                if let Ok(events) = self.server.hub.subscribe_async(&channel) {
                    self.event_stream(client).follow(number, events);
                }
            }
            StreamStep::GiveUp(client, number) => {
                self.event_stream(client).give_up(number % TOPICS);
            }
            StreamStep::Close(client) => *self.event_stream(client) = SimEventStream::default(),
            StreamStep::Pause(client) => self.event_stream(client).pause(),
            StreamStep::Resume(client) => self.event_stream(client).resume(),
        }
    }

    fn event_stream(&mut self, client: u8) -> &mut SimEventStream {
        &mut self.event_streams[usize::from(client) % EVENT_STREAMS]
    }
}
