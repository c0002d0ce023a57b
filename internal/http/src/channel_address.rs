//! The addresses of channels: the stream's name, then a segment for each part of the key, then
//! `events` for the events: `/ventas/7/3`, `/ventas/7/3/events`, `/totales`, `/totales/events`.

use std::sync::Arc;

use crate::authenticate::channel_error;
use crate::error::ApiError;
use crate::history::HISTORY;
use crate::response::Response;
use crate::state::ServerState;
use crate::{snapshot, sse};
use latido_admission::RequestHead;
use latido_base::ident::StreamId;
use latido_net::query;
use latido_net::query::decode_segment;
use latido_stream::{Catalog, ChannelError};

/// The last segment of the address of a channel's events.
const EVENTS: &str = "events";

/// The query parameter of the token, which is no parameter of a stream.
const TOKEN: &str = "token";

/// The parts of a path that is the address of a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChannelAddress {
    stream: StreamId,
    /// The segments that are the key's parts, percent-encoded.
    parts: Vec<String>,
    is_events: bool,
    /// True if the stream's keys have that many parts.
    is_complete: bool,
}

impl ChannelAddress {
    /// Parses a path. Returns `None` if no stream has that name. An address with another number of
    /// key parts is answered with the form that was expected.
    pub(super) fn parse(catalog: &Catalog, path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let stream = catalog.find(&decode_segment(segments.next()?)?)?;
        let mut parts: Vec<_> = segments.map(ToOwned::to_owned).collect();
        let expected = catalog.get(stream).key_fields.len();
        let is_events = parts.len() == expected + 1 && parts.pop_if(|end| end == EVENTS).is_some();
        Some(Self {
            stream,
            is_complete: parts.len() == expected,
            parts,
            is_events,
        })
    }

    /// Returns the refusal of an address with another number of key parts.
    fn expected_form(&self, catalog: &Catalog) -> ApiError {
        let stream = catalog.get(self.stream);
        let parts = stream.key_fields.iter().map(|field| format!("/<{field}>"));
        let form = format!("/{}{}", stream.name, parts.collect::<String>());
        ApiError::not_found_because(format!(
            "nothing is here; expected {form} or {form}/{EVENTS}, with percent-encoded parts"
        ))
    }

    /// Answers a request for the channel.
    pub(super) async fn serve(
        self,
        state: Arc<ServerState>,
        head: RequestHead,
    ) -> Result<Response, ApiError> {
        let inference = &state.catalog.get(self.stream).inference;
        if inference.key_problem().is_some() {
            // Nobody knows yet how many segments the address has.
            return Err(channel_error(&ChannelError::Broken));
        }
        if !self.is_complete {
            return Err(self.expected_form(&state.catalog));
        }
        let name = self.channel_name(&state.catalog, &head.query);
        let name = name.ok_or_else(ApiError::not_found)?;
        if self.is_events {
            sse::stream_events(state, name, head).await
        } else {
            snapshot::serve_snapshot(state, name, head).await
        }
    }

    fn channel_name(&self, catalog: &Catalog, query: &str) -> Option<String> {
        let stream = catalog.get(self.stream);
        let query = query::without(&query::without(query, TOKEN), HISTORY);
        stream.channel_of_address(&self.parts, &query)
    }
}

#[cfg(test)]
mod tests {
    use latido_stream::{KeyType, Param, ParamKind, Stream};

    use super::*;

    fn catalog() -> Catalog {
        let stream = |name: &str, keys: &[&str], params: &[&str]| Stream {
            key_fields: keys.iter().map(|key| (*key).to_owned()).collect(),
            key_types: vec![KeyType::Text; keys.len()].into(),
            params: params
                .iter()
                .map(|name| Param {
                    name: (*name).to_owned(),
                    kind: ParamKind::Date,
                    default: None,
                })
                .collect(),
            ..Stream::test_stream(name, None)
        };
        Catalog::new(vec![
            stream("estadisticas", &["negocio_id"], &[]),
            stream("ventas", &["tienda_id", "caja"], &["desde"]),
            stream("cajas", &["tienda_id", "caja"], &[]),
            stream("totales", &[], &[]),
        ])
    }

    #[test]
    fn addresses_are_channels() {
        let catalog = catalog();
        for (path, query, channel, is_events) in [
            ("/estadisticas/a%2Fb", "x=1", "estadisticas:a/b", false),
            ("/estadisticas/events", "", "estadisticas:events", false),
            ("/estadisticas/a/events", "token=x", "estadisticas:a", true),
            (
                "/ventas/7/3",
                "desde=2026-11-01&token=x&history=true",
                "ventas:7/3?desde=2026-11-01",
                false,
            ),
            ("/ventas/7%2F8/3", "", "ventas:7%2F8/3", false),
            ("/ventas/7/events", "", "ventas:7/events", false),
            ("/vent%61s/7/3/events", "x=%41", "ventas:7/3?x=%41", true),
            ("/cajas/7/3", "x=1", "cajas:7/3", false),
            ("/totales", "x=1", "totales", false),
            ("/totales/events", "", "totales", true),
        ] {
            let address = ChannelAddress::parse(&catalog, path).expect(path);
            let name = address.channel_name(&catalog, query);
            assert_eq!(
                (name.as_deref(), address.is_events),
                (Some(channel), is_events),
                "{path}"
            );
        }
        for path in ["", "/", "totales", "/nada", "/nada/1", "/%ff"] {
            assert_eq!(ChannelAddress::parse(&catalog, path), None, "{path}");
        }
        for path in [
            "/estadisticas",
            "/estadisticas/a/b",
            "/estadisticas/a/events/b",
            "/ventas/7",
            "/ventas/7/3/4",
            "/ventas/7/3/events/events",
            "/totales/1",
            "/totales/events/events",
        ] {
            let address = ChannelAddress::parse(&catalog, path).unwrap();
            assert!(!address.is_complete, "{path}");
        }
        let address = ChannelAddress::parse(&catalog, "/estadisticas/%ff").unwrap();
        assert_eq!(address.channel_name(&catalog, ""), None);
    }
}
