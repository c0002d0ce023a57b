//! The counters of a running measurement.

use super::frames;
use super::histogram::LatencyHistogram;
use super::{Counted, Delays};
use crate::process::{cpu_ns, now_ns, own_cpu_ns, rss, wall_ns};

/// The maximum number of arrivals kept for the spread of a broadcast; further ones are ignored.
const MAX_ARRIVALS: usize = 3_000_000;

/// The arrival of one frame of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    channel: u32,
    version: u64,
    at_ns: u64,
    group: u16,
}

/// The counters, empty until a measurement begins.
#[derive(Debug, Default)]
pub(super) struct LoadCounters {
    is_counting: bool,
    began_ns: u64,
    own_cpu: u64,
    server_cpu: u64,
    /// The wall clock minus the monotonic clock. Arrivals are stamped with the first, payloads with
    /// the second.
    wall_ahead: u64,
    frames: u64,
    bytes: u64,
    delays: Vec<LatencyHistogram>,
    arrivals: Vec<Arrival>,
}

impl LoadCounters {
    pub(super) fn begin(&mut self, groups: usize, server: Option<u32>) {
        *self = Self {
            is_counting: true,
            wall_ahead: wall_ns().wrapping_sub(now_ns()),
            delays: vec![LatencyHistogram::new(); groups],
            arrivals: Vec::new(),
            server_cpu: server.map_or(0, cpu_ns),
            own_cpu: own_cpu_ns(),
            began_ns: now_ns(),
            ..Self::default()
        };
    }

    pub(super) fn is_counting(&self) -> bool {
        self.is_counting
    }

    /// Counts one data frame. `arrived` is on the wall clock, 0 if the kernel did not stamp it.
    pub(super) fn frame(
        &mut self,
        group: u16,
        channel: u32,
        payload: &[u8],
        version: Option<u64>,
        arrived: u64,
    ) {
        self.frames += 1;
        self.bytes += payload.len() as u64;
        let at_ns = if arrived == 0 {
            now_ns()
        } else {
            arrived.wrapping_sub(self.wall_ahead)
        };
        if let Some(sent) = frames::stamp(payload) {
            self.delays[usize::from(group)].add(at_ns.saturating_sub(sent));
        }
        if let Some(version) = version.filter(|_| self.arrivals.len() < MAX_ARRIVALS) {
            self.arrivals.push(Arrival {
                channel,
                version,
                at_ns,
                group,
            });
        }
    }

    /// Ends the counting and returns the result.
    pub(super) fn end(&mut self, server: Option<u32>) -> Counted {
        let server_cpu_ns = server.map_or(0, cpu_ns).saturating_sub(self.server_cpu);
        let client_cpu_ns = own_cpu_ns() - self.own_cpu;
        let seconds = (now_ns() - self.began_ns) as f64 / 1e9;
        self.is_counting = false;
        let spreads = self.spreads();
        let delays = self.delays.iter().zip(&spreads);
        Counted {
            seconds,
            frames: self.frames,
            bytes: self.bytes,
            server_cpu_ns,
            server_rss: server.map_or(0, rss),
            client_cpu_ns,
            groups: delays
                .map(|(d, s)| Delays {
                    delay_ms: d.quantiles(),
                    spread_ms: s.quantiles(),
                })
                .collect(),
            ..Counted::default()
        }
    }

    /// Returns the delays of frames after the first frame of their broadcast, by group.
    fn spreads(&mut self) -> Vec<LatencyHistogram> {
        let mut spreads = vec![LatencyHistogram::new(); self.delays.len()];
        self.arrivals.sort_unstable();
        for broadcast in self
            .arrivals
            .chunk_by(|a, b| (a.channel, a.version) == (b.channel, b.version))
        {
            for arrival in broadcast {
                spreads[usize::from(arrival.group)].add(arrival.at_ns - broadcast[0].at_ns);
            }
        }
        self.arrivals = Vec::new();
        spreads
    }
}
