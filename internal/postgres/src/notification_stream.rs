//! Notifications on a dedicated connection: LISTEN, the proof of delivery, the messages, and the
//! detection of a lost connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client};

use crate::change_hint::probe_payload;
use crate::connect::RawConnection;
use crate::error::{DatabaseError, error_text};
use crate::pool::Database;
use latido_base::backoff::{Backoff, Jitter};

/// The time between two empty queries, and the time-out of each. A server that hangs is detected
/// after both.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The time-out of a probe and the number of probes. After the last one the connection counts as
/// not delivering.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_PROBES: usize = 2;

/// The pauses before connecting again; see [`reconnect_pause`].
pub(super) const RECONNECTS: Backoff =
    Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// The reason for giving up a connection.
#[derive(Debug)]
pub(super) enum DisconnectCause {
    /// The connection failed, with the error's text.
    Broken(String),
    /// LISTEN works, but notifications do not arrive.
    NotDelivering,
}

/// A connection on which notifications arrive.
pub(super) struct NotificationStream {
    client: Arc<Client>,
    connection: RawConnection,
    ping_interval: Interval,
    ping: PendingPing,
}

impl NotificationStream {
    fn new(client: Client, connection: RawConnection) -> Self {
        let mut ping_interval = interval(PING_INTERVAL);
        ping_interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            client: Arc::new(client),
            connection,
            ping_interval,
            ping: None,
        }
    }

    /// Returns the next message. Meanwhile sends an empty query at every interval to detect a lost
    /// server.
    pub(super) async fn next_message(&mut self) -> Result<AsyncMessage, DisconnectCause> {
        loop {
            tokio::select! {
                message = receive_message(&mut self.connection) => return message,
                _ = self.ping_interval.tick(), if self.ping.is_none() => {
                    let client = Arc::clone(&self.client);
                    self.ping = Some(Box::pin(ping(client)));
                },
                result = ping_result(&mut self.ping) => {
                    result?;
                    self.ping = None;
                },
            }
        }
    }

    /// Returns the next message if it is pending already.
    pub(super) async fn try_next(&mut self) -> Result<Option<AsyncMessage>, DisconnectCause> {
        poll_fn(|cx| match self.connection.poll_message(cx) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Ok(Some(message))),
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Err(DisconnectCause::Broken(error_text(&error))))
            }
            Poll::Ready(None) => {
                Poll::Ready(Err(DisconnectCause::Broken("connection closed".to_owned())))
            }
            Poll::Pending => Poll::Ready(Ok(None)),
        })
        .await
    }
}

/// Connects, LISTENs to the channels (plain identifiers, at least one), and proves that
/// notifications arrive. The probe uses the first channel: one connection delivers all or none.
/// Drops the messages that arrive meanwhile, because everything will be read anyway.
pub(super) async fn connect_and_verify(
    database: &Database,
    channels: &[&str],
) -> Result<NotificationStream, DisconnectCause> {
    let endpoint = database.direct_endpoint();
    let (client, mut connection) =
        match timeout(endpoint.total_connect_timeout(), endpoint.connect_plain()).await {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => return Err(DisconnectCause::Broken(error_text(&error))),
            Err(_) => {
                return Err(DisconnectCause::Broken(
                    "no connection within the connect time-out".to_owned(),
                ));
            }
        };
    let listen: String = each_channel("LISTEN", channels);
    let listen = timeout(PROBE_TIMEOUT, client.batch_execute(&listen));
    match poll_while(&mut connection, listen).await? {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(DisconnectCause::Broken(error_text(&error))),
        Err(_) => {
            return Err(DisconnectCause::Broken(
                "LISTEN was not answered".to_owned(),
            ));
        }
    }
    let channel = channels.first().copied().unwrap_or_default();
    for _ in 0..MAX_PROBES {
        if probe_delivery(database, channel, &mut connection).await? {
            keep_session(&client, &mut connection).await?;
            return Ok(NotificationStream::new(client, connection));
        }
    }
    // A pooler keeps the server's session, and every listener costs writers. With luck this
    // UNLISTEN reaches the same session.
    let _ = poll_while(
        &mut connection,
        timeout(
            PROBE_TIMEOUT,
            client.batch_execute(&each_channel("UNLISTEN", channels)),
        ),
    )
    .await;
    Err(DisconnectCause::NotDelivering)
}

/// Prevents the server from ending the session for being idle. Only now is it known that the
/// session belongs to this connection alone.
async fn keep_session(
    client: &Client,
    connection: &mut RawConnection,
) -> Result<(), DisconnectCause> {
    let set = timeout(
        PROBE_TIMEOUT,
        client.batch_execute("SET idle_session_timeout = 0"),
    );
    match poll_while(connection, set).await? {
        // A pooler may refuse the setting; the pings keep its session busy anyway.
        Ok(_) => Ok(()),
        Err(_) => Err(DisconnectCause::Broken("SET was not answered".to_owned())),
    }
}

/// Returns the command for each of the channels.
fn each_channel(command: &str, channels: &[&str]) -> String {
    let commands = channels
        .iter()
        .map(|channel| format!("{command} {channel};"));
    commands.collect()
}

/// Returns whether a notification sent over another connection arrives on this one.
async fn probe_delivery(
    database: &Database,
    channel: &str,
    connection: &mut RawConnection,
) -> Result<bool, DisconnectCause> {
    let nonce = probe_payload(fastrand::u64(..));
    let mut received = false;
    {
        let mut send = std::pin::pin!(send_probe(database, channel, &nonce));
        loop {
            tokio::select! {
                sent = &mut send => break sent.map_err(|error| DisconnectCause::Broken(error.to_string()))?,
                message = receive_message(connection) => received |= is_probe_echo(&message?, channel, &nonce),
            }
        }
    }
    let receive = async {
        while !received {
            received = is_probe_echo(&receive_message(connection).await?, channel, &nonce);
        }
        Ok(())
    };
    match timeout(PROBE_TIMEOUT, receive).await {
        Ok(result) => result.map(|()| true),
        Err(_) => Ok(false),
    }
}

async fn send_probe(
    database: &Database,
    channel: &str,
    payload: &str,
) -> Result<(), DatabaseError> {
    let params: [(&(dyn ToSql + Sync), Type); 2] = [(&channel, Type::TEXT), (&payload, Type::TEXT)];
    database
        .query(
            "the probe",
            "SELECT pg_catalog.pg_notify($1, $2)::pg_catalog.text",
            &params,
        )
        .await
        .map(drop)
}

type PendingPing = Option<BoxFuture<'static, Result<(), DisconnectCause>>>;

/// Sends an empty query and waits for the response.
async fn ping(client: Arc<Client>) -> Result<(), DisconnectCause> {
    match timeout(PING_TIMEOUT, client.batch_execute("")).await {
        Ok(result) => result.map_err(|error| DisconnectCause::Broken(error_text(&error))),
        Err(_) => Err(DisconnectCause::Broken(
            "the server does not answer".to_owned(),
        )),
    }
}

/// Resolves when the ping under way ends; never without a ping.
async fn ping_result(ping: &mut PendingPing) -> Result<(), DisconnectCause> {
    match ping {
        Some(ping) => ping.await,
        None => std::future::pending().await,
    }
}

/// Returns the next message of the connection. Polling it also drives requests and responses.
async fn receive_message(connection: &mut RawConnection) -> Result<AsyncMessage, DisconnectCause> {
    match poll_fn(|cx| connection.poll_message(cx)).await {
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(DisconnectCause::Broken(error_text(&error))),
        None => Err(DisconnectCause::Broken("connection closed".to_owned())),
    }
}

/// Awaits a request of the client while the connection is polled. Messages that arrive meanwhile
/// are dropped.
async fn poll_while<F: Future>(
    connection: &mut RawConnection,
    request: F,
) -> Result<F::Output, DisconnectCause> {
    let mut request = std::pin::pin!(request);
    loop {
        tokio::select! {
            response = &mut request => return Ok(response),
            message = receive_message(connection) => drop(message?),
        }
    }
}

fn is_probe_echo(message: &AsyncMessage, channel: &str, nonce: &str) -> bool {
    matches!(message, AsyncMessage::Notification(received) if received.channel() == channel && received.payload() == nonce)
}

/// Counts a failure and returns the pause before connecting again, between half of the back-off's
/// pause and all of it, so that many servers do not reconnect at the same time.
pub(super) fn reconnect_pause(backoff: &mut Backoff) -> Duration {
    Jitter::HALF.apply(backoff.next_pause(), fastrand::f64())
}
