//! Notifications on a dedicated connection: LISTEN, the proof of delivery, the messages, and the
//! detection of a lost connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client};

use crate::connect::Wire;
use crate::error::{DatabaseError, describe};
use crate::notice::probe;
use crate::pool::Database;

/// The time between two empty queries, and the time-out of each. A server that hangs is detected
/// after both.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_LIMIT: Duration = Duration::from_secs(2);

/// The time-out of a probe and the number of probes. After the last one the connection counts as
/// not delivering.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
const PROBES: usize = 2;

/// The shortest and the longest pause before connecting again. The actual pause is between half of
/// it and all of it.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The reason for giving up a connection.
#[derive(Debug)]
pub(super) enum End {
    /// The connection failed, with the error's text.
    Broken(String),
    /// LISTEN works, but notifications do not arrive.
    Deaf,
}

/// A connection on which notifications arrive.
pub(super) struct Line {
    client: Arc<Client>,
    wire: Wire,
    due: Interval,
    ping: Ping,
}

impl Line {
    fn new(client: Client, wire: Wire) -> Self {
        let mut due = interval(PING_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            client: Arc::new(client),
            wire,
            due,
            ping: None,
        }
    }

    /// Returns the next message. Meanwhile sends an empty query at every interval to detect a lost
    /// server.
    pub(super) async fn next(&mut self) -> Result<AsyncMessage, End> {
        loop {
            tokio::select! {
                message = next(&mut self.wire) => return message,
                _ = self.due.tick(), if self.ping.is_none() => {
                    let client = Arc::clone(&self.client);
                    self.ping = Some(Box::pin(async move { timeout(PING_LIMIT, client.batch_execute("")).await }));
                },
                result = answered(&mut self.ping) => match result {
                    Ok(Ok(())) => self.ping = None,
                    Ok(Err(error)) => return Err(End::Broken(describe(&error))),
                    Err(_) => return Err(End::Broken("the server does not answer".to_owned())),
                },
            }
        }
    }

    /// Returns the next message if it is pending already.
    pub(super) async fn at_hand(&mut self) -> Result<Option<AsyncMessage>, End> {
        poll_fn(|cx| match self.wire.poll_message(cx) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Ok(Some(message))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(End::Broken(describe(&error)))),
            Poll::Ready(None) => Poll::Ready(Err(End::Broken("connection closed".to_owned()))),
            Poll::Pending => Poll::Ready(Ok(None)),
        })
        .await
    }
}

/// Connects, LISTENs to a channel (a plain identifier), and proves that notifications arrive. Drops
/// the messages that arrive meanwhile, because everything will be read anyway.
pub(super) async fn rehearse(database: &Database, channel: &str) -> Result<Line, End> {
    let endpoint = database.direct();
    let (client, mut connection) = match timeout(endpoint.connect_limit(), endpoint.plain()).await {
        Ok(Ok(parts)) => parts,
        Ok(Err(error)) => return Err(End::Broken(describe(&error))),
        Err(_) => {
            return Err(End::Broken(
                "no connection within the connect time-out".to_owned(),
            ));
        }
    };
    let listen = format!("LISTEN {channel}");
    let listen = timeout(PROBE_LIMIT, client.batch_execute(&listen));
    match alongside(&mut connection, listen).await? {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(End::Broken(describe(&error))),
        Err(_) => return Err(End::Broken("LISTEN was not answered".to_owned())),
    }
    for _ in 0..PROBES {
        if arrives(database, channel, &mut connection).await? {
            return Ok(Line::new(client, connection));
        }
    }
    // A pooler keeps the server's session, and every listener costs writers. With luck this
    // UNLISTEN reaches the same session.
    let _ = alongside(
        &mut connection,
        timeout(
            PROBE_LIMIT,
            client.batch_execute(&format!("UNLISTEN {channel}")),
        ),
    )
    .await;
    Err(End::Deaf)
}

/// Returns whether a notification sent over another connection arrives on this one.
async fn arrives(database: &Database, channel: &str, connection: &mut Wire) -> Result<bool, End> {
    let nonce = probe(fastrand::u64(..));
    let mut received = false;
    {
        let mut send = std::pin::pin!(send(database, channel, &nonce));
        loop {
            tokio::select! {
                sent = &mut send => break sent.map_err(|error| End::Broken(error.to_string()))?,
                message = next(connection) => received |= is_ours(&message?, channel, &nonce),
            }
        }
    }
    let receive = async {
        while !received {
            received = is_ours(&next(connection).await?, channel, &nonce);
        }
        Ok(())
    };
    match timeout(PROBE_LIMIT, receive).await {
        Ok(result) => result.map(|()| true),
        Err(_) => Ok(false),
    }
}

async fn send(database: &Database, channel: &str, payload: &str) -> Result<(), DatabaseError> {
    let params: [(&(dyn ToSql + Sync), Type); 2] = [(&channel, Type::TEXT), (&payload, Type::TEXT)];
    database
        .query(
            "the probe",
            "SELECT pg_catalog.pg_notify($1, $2)::text",
            &params,
        )
        .await
        .map(drop)
}

type Ping = Option<
    Pin<
        Box<
            dyn Future<
                    Output = Result<Result<(), tokio_postgres::Error>, tokio::time::error::Elapsed>,
                > + Send,
        >,
    >,
>;

/// Resolves when the ping under way ends; never without a ping.
async fn answered(
    ping: &mut Ping,
) -> Result<Result<(), tokio_postgres::Error>, tokio::time::error::Elapsed> {
    match ping {
        Some(ping) => ping.await,
        None => std::future::pending().await,
    }
}

/// Returns the next message of the connection. Polling it also drives requests and responses.
async fn next(connection: &mut Wire) -> Result<AsyncMessage, End> {
    match poll_fn(|cx| connection.poll_message(cx)).await {
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(End::Broken(describe(&error))),
        None => Err(End::Broken("connection closed".to_owned())),
    }
}

/// Awaits a request of the client while the connection is polled. Messages that arrive meanwhile
/// are dropped.
async fn alongside<F: Future>(connection: &mut Wire, request: F) -> Result<F::Output, End> {
    let mut request = std::pin::pin!(request);
    loop {
        tokio::select! {
            response = &mut request => return Ok(response),
            message = next(connection) => drop(message?),
        }
    }
}

fn is_ours(message: &AsyncMessage, channel: &str, nonce: &str) -> bool {
    matches!(message, AsyncMessage::Notification(received) if received.channel() == channel && received.payload() == nonce)
}

/// Doubling pauses with jitter, so that many servers do not reconnect at the same time.
#[derive(Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let full = (BACKOFF_MIN * 2u32.saturating_pow(self.0.min(16))).min(BACKOFF_MAX);
        self.0 = self.0.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_limit() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..100).map(|_| backoff.next()).collect();
        assert!(pauses[0] <= BACKOFF_MIN && pauses[0] >= BACKOFF_MIN / 2);
        assert!(pauses.iter().all(|p| *p <= BACKOFF_MAX) && pauses[99] >= BACKOFF_MAX / 2);
    }
}
