//! Publishes to a broker from outside. This uses the load's core, not the server's.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use crate::machine;
use crate::pacer::{self, PublishSchedule};
use crate::process::now_ns;

/// The kind of message broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broker {
    Nchan,
    Nats,
}

/// A thread that publishes until it is dropped.
#[derive(Debug)]
pub(crate) struct BrokerPublisher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BrokerPublisher {
    /// Connects and publishes on a schedule.
    pub(crate) fn start(broker: Broker, port: u16, beat: PublishSchedule) -> anyhow::Result<Self> {
        let mut stream =
            TcpStream::connect(("127.0.0.1", port)).context("connecting to publish")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        if broker == Broker::Nats {
            stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            pacer::run_schedules(&[beat], |channel, turn| {
                let payload = pacer::payload(channel, turn, now_ns());
                let sent = match broker {
                    Broker::Nchan => post(&mut stream, channel, &payload),
                    Broker::Nats => {
                        write!(stream, "PUB s.{channel} {}\r\n{payload}\r\n", payload.len())
                    }
                };
                sent.is_ok() && !stopped.load(Ordering::Relaxed)
            });
        };
        let thread = machine::on_core(Some(machine::LOAD_CORE), || std::thread::spawn(work))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

fn post(stream: &mut TcpStream, channel: usize, payload: &str) -> std::io::Result<()> {
    write!(
        stream,
        "POST /pub?id=c{channel} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{payload}",
        payload.len()
    )?;
    stream.read(&mut [0; 4096]).map(drop)
}

impl Drop for BrokerPublisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panicked thread has already printed its message.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
