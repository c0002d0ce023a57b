//! `GET /ws`: everything that can be refused is refused before the upgrade; then the raw socket goes to a shard.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;
use warp::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::http::{HeaderMap, HeaderValue, StatusCode};

use crate::auth::Principal;
use crate::http::call::{Call, joined};
use crate::http::connection::Said;
use crate::http::identity::{SOON, authenticate, authenticate_at_once, check_origin, places};
use crate::http::refusal::Refusal;
use crate::http::seats::Seat;
use crate::http::site::{Quay, WEBSOCKETS};
use crate::http::{Asked, Doors, Pier, Response};
use crate::shard::{Arrival, Entrant};
use crate::websocket::handshake::{self, BEARER, Offer, Refused};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Answers the request. The upgrade itself follows once hyper has sent the 101. Whoever has no token is an app's, if there is
/// one, and so is whoever shows a token of its kind.
pub(super) async fn open(
    doors: Arc<Doors>,
    call: Call,
    upgrade: Option<OnUpgrade>,
    quay: Option<Quay>,
) -> Result<Response, Refusal> {
    let interpreter = match quay {
        Some(Quay { pier, .. }) if call.token().is_none_or(|token| pier.wants(&token)) => {
            return board(doors, pier, WEBSOCKETS.to_owned(), call, upgrade).await;
        }
        quay => quay.and_then(|quay| quay.interpreter),
    };
    may_knock(&doors, &call)?;
    let principal = authenticate(&doors, &call).await?;
    let response = may_enter(&doors, &call)?;
    take_over(
        doors,
        &call,
        upgrade,
        Entrant::Native(Arc::new(principal), interpreter),
    )?;
    Ok(response)
}

/// The same for an app's own: it judges, and says who it is that comes in.
pub(super) async fn board(
    doors: Arc<Doors>,
    pier: Arc<dyn Pier>,
    path: String,
    call: Call,
    upgrade: Option<OnUpgrade>,
) -> Result<Response, Refusal> {
    may_knock(&doors, &call)?;
    let mut response = switching(&accept(&call.headers)?, offers_pair(&call))?;
    let judged = timeout(
        doors.config.answer_timeout,
        pier.board(Asked::of(&call, &path, &doors.config.proxies)),
    )
    .await;
    let boarding = match judged {
        Ok(Ok(boarding)) => boarding,
        Ok(Err(answer)) => return Ok(answer.into_response()),
        Err(_) => {
            return Err(Refusal::unavailable(
                "unavailable",
                "no answer in time; come back",
                SOON,
            ));
        }
    };
    if let Some(subprotocol) = boarding.subprotocol {
        response.headers_mut().insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(subprotocol),
        );
    }
    take_over(doors, &call, upgrade, Entrant::Guest(Box::new(boarding)))?;
    Ok(response)
}

fn take_over(
    doors: Arc<Doors>,
    call: &Call,
    upgrade: Option<OnUpgrade>,
    entrant: Entrant,
) -> Result<(), Refusal> {
    let principal = match &entrant {
        Entrant::Native(principal, _) => Some(principal),
        Entrant::Guest(boarding) => boarding.principal.as_ref(),
    };
    let places = places(&doors, call, principal.map(|principal| principal.user()))?;
    let upgrade = upgrade.ok_or_else(no_upgrade)?;
    let seat = call
        .peer
        .as_ref()
        .and_then(super::connection::Peer::take_seat)
        .ok_or_else(no_upgrade)?;
    let seat = Seat(
        places
            .into_iter()
            .fold(seat.0, |permits, permit| permits.and(Some(permit))),
    );
    doors
        .drain
        .spawn(hand_over(Arc::clone(&doors), upgrade, entrant, seat));
    Ok(())
}

/// The same for a request that can be granted at once. None: it can't, and [`open`] has the answer.
pub(super) fn open_at_once(
    doors: &Doors,
    call: &Call,
    quay: Option<&Quay>,
) -> Option<(Response, Principal, Vec<OwnedSemaphorePermit>)> {
    may_knock(doors, call).ok()?;
    if quay.is_some_and(|quay| call.token().is_none_or(|token| quay.pier.wants(&token))) {
        return None;
    }
    let principal = authenticate_at_once(doors, call)?;
    let response = may_enter(doors, call).ok()?;
    let places = places(doors, call, Some(principal.user())).ok()?;
    Some((response, principal, places))
}

/// What is refused whoever asks.
fn may_knock(doors: &Doors, call: &Call) -> Result<(), Refusal> {
    call.gets()?;
    if doors.drain.is_stopping() {
        return Err(Refusal::unavailable(
            "draining",
            "the server is stopping; come back",
            SOON,
        ));
    }
    check_origin(doors, call)
}

/// What is refused to somebody with a good token; else the 101.
fn may_enter(doors: &Doors, call: &Call) -> Result<Response, Refusal> {
    if !doors.catalog.is_ready() {
        return Err(Refusal::unavailable(
            "not_ready",
            "the database has not been reached yet; come back",
            SOON,
        ));
    }
    switching(&accept(&call.headers)?, offers_pair(call))
}

/// Whoever offered the pair must get one of the two back, or browsers fail the connection; and never the token.
fn offers_pair(call: &Call) -> bool {
    handshake::bearer_token(&call.header(SEC_WEBSOCKET_PROTOCOL)).is_some()
}

fn accept(headers: &HeaderMap) -> Result<String, Refusal> {
    let offer = Offer {
        upgrade: &joined(headers, UPGRADE),
        connection: &joined(headers, CONNECTION),
        version: &joined(headers, SEC_WEBSOCKET_VERSION),
        key: &joined(headers, SEC_WEBSOCKET_KEY),
    };
    Ok(handshake::accept(&offer)?)
}

/// The 101 for a WebSocket that somebody else serves, without a subprotocol.
pub(super) fn welcome(headers: &HeaderMap) -> Result<Response, Refusal> {
    switching(&accept(headers)?, false)
}

/// It was no upgrade, or one that hyper can't make.
pub(super) fn no_upgrade() -> Refusal {
    Refusal::from(Refused::NoUpgrade)
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::Key => Self::bad_request("handshake", message),
            Refused::Version => Self::new(StatusCode::UPGRADE_REQUIRED, "handshake", message).with(
                SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static(handshake::VERSION),
            ),
            Refused::NoUpgrade => Self::new(StatusCode::UPGRADE_REQUIRED, "handshake", message)
                .with(UPGRADE, WEBSOCKET)
                .with(CONNECTION, HeaderValue::from_static("upgrade")),
        }
    }
}

fn switching(accept: &str, bearer: bool) -> Result<Response, Refusal> {
    let mut response = Response::new("".into());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(accept).map_err(|_| Refusal::from(Refused::Key))?;
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if bearer {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BEARER));
    }
    Ok(response)
}

async fn hand_over(doors: Arc<Doors>, upgrade: OnUpgrade, entrant: Entrant, seat: Seat) {
    // hyper resolves it when the 101 is sent, or drops it with the connection; the deadline is for a peer that takes no bytes.
    let Ok(Ok(upgraded)) = timeout(doors.config.head_timeout, upgrade).await else {
        debug!("a client left during its upgrade");
        return;
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<Said>>() else {
        return;
    };
    match parts.io.into_inner().into_parts(&parts.read_buf) {
        Ok((socket, early)) => doors.shards.adopt(Arrival {
            socket,
            early,
            entrant,
            permit: seat.0,
        }),
        Err(error) => debug!(%error, "a socket could not be taken out of the runtime"),
    }
}
