//! The schedule of publications: channels, rates and payloads.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::keys;

/// The longest backlog that a late publisher catches up. The measurement is about the server, not
/// about a backlog.
const MAX_BACKLOG: Duration = Duration::from_millis(200);

/// A publication schedule: every channel of a range at a constant rate.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct PublishSchedule {
    /// The number of the first channel.
    pub(crate) first: usize,
    /// The number of channels in the range.
    pub(crate) channels: usize,
    /// The changes per second of each channel. Channels take turns, evenly spread.
    pub(crate) rate: f64,
}

impl PublishSchedule {
    /// Schedules the channels from 0 on.
    pub(crate) fn new(channels: usize, rate: f64) -> Self {
        Self {
            first: 0,
            channels,
            rate,
        }
    }
}

/// Calls `publish(channel, turn)` on the schedule of all beats, until it returns false.
pub(crate) fn run_schedules(
    beats: &[PublishSchedule],
    mut publish: impl FnMut(usize, u64) -> bool,
) {
    let period =
        |beat: &PublishSchedule| Duration::from_secs_f64(1.0 / (beat.rate * beat.channels as f64));
    let began = Instant::now();
    let mut due: Vec<(Instant, u64)> = beats.iter().map(|beat| (began + period(beat), 0)).collect();
    loop {
        let Some(index) = (0..beats.len()).min_by_key(|index| due[*index].0) else {
            return;
        };
        let (beat, (at, turn)) = (&beats[index], due[index]);
        let now = Instant::now();
        if at > now {
            std::thread::sleep(at - now);
        }
        let channel = beat.first + usize::try_from(turn).unwrap_or(0) % beat.channels;
        if !publish(channel, turn) {
            return;
        }
        let from = if now > at + MAX_BACKLOG { now } else { at };
        due[index] = (from + period(beat), turn + 1);
    }
}

/// Returns the columns of a generated row with a time stamp. No two rows are equal.
pub(crate) fn columns(turn: u64, now_ns: u64) -> String {
    columns_of(&now_ns.to_string(), &(FIRST_TURN + turn).to_string())
}

/// The first turn number. It keeps the number of digits constant.
const FIRST_TURN: u64 = 100_000;

fn columns_of(stamp: &str, turn: &str) -> String {
    format!(
        r#"{{"t":{stamp},"citas_hoy":12,"total_citas":{turn},"citas_completadas":345,"citas_canceladas":67}}"#
    )
}

/// Returns the payload that Latido creates from such a row, for other servers: of the same length
/// and with the same fields.
pub(crate) fn payload(channel: usize, turn: u64, now_ns: u64) -> String {
    payload_of(
        channel,
        &now_ns.to_string(),
        &(FIRST_TURN + turn).to_string(),
    )
}

/// Returns the payload with `@T@` for the stamp and `@N@` for the turn, for other languages.
pub(crate) fn template() -> String {
    payload_of(0, "@T@", "@N@")
}

fn payload_of(channel: usize, stamp: &str, turn: &str) -> String {
    let (key, columns) = (keys::key(channel), columns_of(stamp, turn));
    let columns = &columns[1..columns.len() - 1];
    format!(
        r#"{{"type":"stats","data":{{"negocio_id":"{key}",{columns},"timestamp":1700000000}},"channel":"estadisticas:{key}","v":1700000000{turn}}}"#
    )
}
