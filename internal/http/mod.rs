//! The HTTP side: listening sockets, warp's routing, and every address the server answers.
//!
//! [`bind`] and [`serve`] own the listening socket, which is lent to the shards, and the connections; `routes` is the whole URL space on one screen; beside it stands
//! one file an address. A WebSocket only knocks here: once its origin and token are found good, the raw socket goes to a shard and
//! nothing of HTTP stays behind. Most ask so plainly that hyper is never called: `knock` judges them in the shard, which accepts and
//! hears the first words. warp is named in this module alone.
//!
//! Two rules hold everywhere. A token never leaves the request it came with: no type that holds one can be printed, and warp's typed
//! query filter, which logs queries that it can't read, is not used. And whatever waits has a deadline.

mod accept;
mod assets;
mod body;
mod bucket;
mod call;
mod config;
mod connection;
mod cors;
mod dashboard;
mod demo;
mod doors;
mod events;
mod farewell;
mod health;
mod hint;
mod hook;
mod identity;
mod knock;
mod metrics;
mod origin;
mod page;
mod proxies;
mod refusal;
mod routes;
mod seats;
mod site;
mod snapshot;
mod sockets;
mod specification;
mod tls;
mod websocket;
mod wing;

#[cfg(test)]
mod tests;

pub use accept::{Listener, bind, host, serve};
pub use assets::PAGE;
pub use config::{Config, HookPath};
pub use demo::demo_routes;
pub use doors::Doors;
pub use origin::{InvalidOrigin, Origins};
pub use page::Asset;
pub use proxies::{InvalidProxies, Proxies};
pub use refusal::json_error;
/// What the hook makes of a body, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn parse_hint(
    body: &[u8],
    stream: &crate::stream::Stream,
    key_type: crate::stream::KeyType,
) -> Result<crate::ident::Key, String> {
    hint::parse(body, stream, key_type).map_err(|error| error.to_string())
}
pub use seats::Seats;
pub use site::{Annex, Answer, Asked, Boarding, Pier, Site};
pub use sockets::Sockets;
pub use specification::Shapes;
pub use tls::{Tls, TlsError, TlsFiles};

/// An answer, ready to be sent.
pub type Response = warp::reply::Response;

/// More addresses, tried after ours and before the streams'. What they reject falls through to `404`, a wrong method too, so they should
/// answer every method of their paths.
pub type Extra = warp::filters::BoxedFilter<(Response,)>;
