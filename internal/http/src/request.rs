//! The parts of a request that handlers need, independent of the route.

use std::convert::Infallible;

use warp::Filter;

use crate::peer::Peer;
use latido_admission::RequestHead;

/// Extracts the [`RequestHead`] of any request.
pub(super) fn request_head() -> impl Filter<Extract = (RequestHead,), Error = Infallible> + Clone {
    // The raw query: warp's typed filter logs queries that it can't read, and a token may be in
    // one.
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional())
        .map(|method, headers, query, peer: Option<Peer>| RequestHead {
            method,
            headers,
            query,
            remote_addr: peer.map(|peer| peer.address()),
        })
}
