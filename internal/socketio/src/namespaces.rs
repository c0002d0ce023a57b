//! The apps of a mount and their namespaces.

use std::sync::Arc;

use crate::app::SocketIoApp;
use crate::emit::Emit;
use latido_event_bus::{BusEvent, EncodingId};
use latido_protocol::Frame;
use latido_socketio_protocol::engineio::{Version, begin_message};
use latido_socketio_protocol::socketio::{PacketHeader, push_event};

/// The first encoding of Socket.IO. The ids of an app's other encodings are below.
const FIRST_ENCODING: u16 = 1_000;

/// The apps of a mount and their namespaces.
pub(crate) struct Namespaces {
    apps: Vec<Arc<dyn SocketIoApp>>,
    names: Vec<&'static str>,
}

impl Namespaces {
    pub(crate) fn new(apps: &[Arc<dyn SocketIoApp>]) -> Self {
        let mut names: Vec<_> = apps
            .iter()
            .flat_map(|app| app.namespaces())
            .copied()
            .collect();
        names.sort_unstable();
        names.dedup();
        Self {
            apps: apps.to_vec(),
            names,
        }
    }

    pub(crate) fn app(&self, index: usize) -> &Arc<dyn SocketIoApp> {
        &self.apps[index]
    }

    pub(crate) fn apps(&self) -> &[Arc<dyn SocketIoApp>] {
        &self.apps
    }

    /// Returns a namespace's own name and the apps that serve it for a version, by index. Returns
    /// `None` if there is none.
    pub(crate) fn find(&self, name: &str, version: Version) -> Option<(&'static str, Vec<usize>)> {
        let name = self.names.iter().find(|known| **known == name)?;
        let serves = |app: &Arc<dyn SocketIoApp>| {
            app.namespaces().contains(name) && (version == Version::V4 || app.allows_engineio_3())
        };
        let apps: Vec<_> = (0..self.apps.len())
            .filter(|index| serves(&self.apps[*index]))
            .collect();
        (!apps.is_empty()).then_some((name, apps))
    }

    /// Returns the headers that the apps read.
    pub(crate) fn kept_headers(&self) -> Vec<&'static str> {
        self.apps
            .iter()
            .flat_map(|app| app.kept_headers())
            .copied()
            .collect()
    }

    /// Returns the encoding of an app's events in a namespace.
    pub(crate) fn encoding(&self, app: usize, namespace: &str) -> EncodingId {
        let position = self.names.iter().position(|name| *name == namespace);
        let index = position.unwrap_or_default() * self.apps.len() + app;
        EncodingId(FIRST_ENCODING + u16::try_from(index).unwrap_or_default())
    }

    /// Encodes an event as the packets of all its emits.
    pub(crate) fn packets(&self, event: &BusEvent, encoding: EncodingId) -> Vec<String> {
        let index = usize::from(encoding.0.saturating_sub(FIRST_ENCODING));
        let count = self.apps.len().max(1);
        let (Some(app), Some(namespace)) =
            (self.apps.get(index % count), self.names.get(index / count))
        else {
            return Vec::new();
        };
        let emits = app.encode(namespace, event);
        emits
            .iter()
            .map(|emit| event_packet(namespace, emit))
            .collect()
    }

    /// Encodes an event for every WebSocket with this encoding.
    pub(crate) fn frame(&self, event: &BusEvent, encoding: EncodingId) -> Frame {
        let packets = self.packets(event, encoding);
        Frame::joined(packets.iter().map(String::as_str))
    }
}

fn event_packet(namespace: &str, emit: &Emit) -> String {
    let mut packet = String::with_capacity(emit.name.len() + emit.payload.len() + 16);
    begin_message(&mut packet);
    let header = PacketHeader {
        namespace,
        id: None,
        attachments: 0,
    };
    push_event(&mut packet, &header, &emit.name, &emit.payload);
    packet
}
