//! The metrics of the last ten minutes, one point per second. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use latido_telemetry::HistogramSnapshot;

/// The number of points kept: ten minutes at one point per second.
const MAX_POINTS: usize = 600;
/// The window for percentiles, in seconds: long enough for meaningful values, short enough to show
/// a change.
const PERCENTILE_WINDOW_S: usize = 30;

/// Counters and gauges at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MetricsSample {
    /// The time of the sample, in Unix seconds.
    pub(super) at_s: i64,
    /// The number of open WebSockets.
    pub(super) connections: u64,
    /// The number of subscriptions on all topics.
    pub(super) viewers: u64,
    /// The number of topics with a viewer.
    pub(super) topics: u64,
    /// The number of keys waiting to be read.
    pub(super) dirty_keys: u64,
    /// The resident memory, in bytes.
    pub(super) memory_bytes: u64,
    /// Counters since the start: keys read, frames and bytes sent, messages received, change hints.
    pub(super) keys_read: u64,
    pub(super) frames_sent: u64,
    pub(super) bytes_sent: u64,
    pub(super) messages_received: u64,
    pub(super) hints_received: u64,
    /// The processor time used since the start.
    pub(super) cpu_time: Duration,
    /// Distributions of statement durations and of the latency from a change to its frames.
    pub(super) read_time: HistogramSnapshot,
    pub(super) change_time: HistogramSnapshot,
}

/// One second of history. Rates are per second, times in milliseconds, processor use in percent of
/// one core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MetricsPoint {
    at_s: i64,
    values: [Option<f32>; VALUE_NAMES.len()],
}

/// The JSON names of a point's values, in the order of `values`.
const VALUE_NAMES: [&str; 15] = [
    "connections",
    "viewers",
    "topics",
    "dirty",
    "memory",
    "reads",
    "frames",
    "bytes",
    "messages",
    "changes",
    "cpu",
    "read_p50",
    "read_p99",
    "change_p50",
    "change_p99",
];

/// A ring of points with the samples that the percentiles need.
#[derive(Debug, Default)]
pub(super) struct MetricsHistory {
    points: VecDeque<MetricsPoint>,
    /// The samples of the last [`PERCENTILE_WINDOW_S`] seconds and the one before them.
    samples: VecDeque<MetricsSample>,
}

impl MetricsHistory {
    /// Adds a sample that was taken `elapsed` after the previous one.
    pub(super) fn add_sample(&mut self, reading: MetricsSample, elapsed: Duration) {
        let before = self.samples.back().copied();
        if let (Some(before), Some(oldest)) = (before, self.samples.front()) {
            if self.points.len() == MAX_POINTS {
                self.points.pop_front();
            }
            self.points
                .push_back(point_between(&reading, &before, oldest, elapsed));
        }
        if self.samples.len() > PERCENTILE_WINDOW_S {
            self.samples.pop_front();
        }
        self.samples.push_back(reading);
    }

    /// Returns the newest point as JSON, or `null` before there is one.
    pub(super) fn latest(&self) -> Value {
        self.points
            .back()
            .map_or(Value::Null, |point| point.to_json())
    }

    /// Returns all points as JSON with one list per value: `{"t": […], "reads": […], …}`.
    pub(super) fn to_json(&self) -> Value {
        let mut all = json!({"t": self.points.iter().map(|point| point.at_s).collect::<Vec<_>>()});
        for (index, name) in VALUE_NAMES.iter().enumerate() {
            all[*name] = self
                .points
                .iter()
                .map(|point| rounded_json(point.values[index]))
                .collect();
        }
        all
    }
}

impl MetricsPoint {
    fn to_json(self) -> Value {
        let mut all = json!({"t": self.at_s});
        for (name, value) in VALUE_NAMES.iter().zip(self.values) {
            all[*name] = rounded_json(value);
        }
        all
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "for display: seven digits are enough"
)]
fn point_between(
    now: &MetricsSample,
    before: &MetricsSample,
    oldest: &MetricsSample,
    elapsed: Duration,
) -> MetricsPoint {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let level = |value: u64| Some(value as f32);
    let rate = |of: fn(&MetricsSample) -> u64| {
        Some((of(now).saturating_sub(of(before)) as f64 / seconds) as f32)
    };
    let quantile_ms = |of: fn(&MetricsSample) -> &HistogramSnapshot, share| {
        of(now)
            .since(of(oldest))
            .quantile(share)
            .map(|duration: Duration| duration.as_secs_f32() * 1_000.0)
    };
    let cpu = now.cpu_time.saturating_sub(before.cpu_time).as_secs_f64() / seconds * 100.0;
    let values = [
        level(now.connections),
        level(now.viewers),
        level(now.topics),
        level(now.dirty_keys),
        level(now.memory_bytes),
        rate(|r| r.keys_read),
        rate(|r| r.frames_sent),
        rate(|r| r.bytes_sent),
        rate(|r| r.messages_received),
        rate(|r| r.hints_received),
        Some(cpu as f32),
        quantile_ms(|r| &r.read_time, 0.5),
        quantile_ms(|r| &r.read_time, 0.99),
        quantile_ms(|r| &r.change_time, 0.5),
        quantile_ms(|r| &r.change_time, 0.99),
    ];
    MetricsPoint {
        at_s: now.at_s,
        values,
    }
}

/// Rounds a value for JSON: to an integer from 1,000 upwards, otherwise to three decimal places.
fn rounded_json(value: Option<f32>) -> Value {
    value.map_or(Value::Null, |value| {
        let value = f64::from(value);
        if value >= 1_000.0 || value.fract() == 0.0 {
            json!(value.round() as i64)
        } else {
            json!((value * 1_000.0).round() / 1_000.0)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let mut history = MetricsHistory::default();
        history.add_sample(
            MetricsSample {
                keys_read: 10,
                at_s: 1,
                ..MetricsSample::default()
            },
            Duration::ZERO,
        );
        assert_eq!(history.latest(), Value::Null, "one reading is no rate");
        let cpu = Duration::from_millis(500);
        history.add_sample(
            MetricsSample {
                keys_read: 40,
                connections: 7,
                at_s: 3,
                cpu_time: cpu,
                ..MetricsSample::default()
            },
            Duration::from_secs(2),
        );
        let latest = history.latest();
        assert_eq!(
            (&latest["reads"], &latest["connections"], &latest["t"]),
            (&json!(15), &json!(7), &json!(3))
        );
        assert_eq!(
            (&latest["cpu"], &latest["read_p99"]),
            (&json!(25), &Value::Null)
        );
    }

    #[test]
    fn history_length_is_bounded() {
        let mut history = MetricsHistory::default();
        for at_s in 0..2_000 {
            history.add_sample(
                MetricsSample {
                    at_s,
                    ..MetricsSample::default()
                },
                Duration::from_secs(1),
            );
        }
        let all = history.to_json();
        assert_eq!(all["t"].as_array().map(Vec::len), Some(MAX_POINTS));
        assert_eq!(
            (
                &all["t"][MAX_POINTS - 1],
                all["frames"].as_array().map(Vec::len)
            ),
            (&json!(1_999), Some(MAX_POINTS))
        );
        assert_eq!(history.samples.len(), PERCENTILE_WINDOW_S + 1);
    }
}
