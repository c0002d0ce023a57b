//! Frames as lines for people. Pure.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::watch::endings::printable;

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Saying {
    /// The row's columns, the time among them.
    Numbers(Map<String, Value>),
    /// The numbers may be old since then (Unix seconds), or are not any more.
    Stale(Option<i64>),
    /// The token ends then (Unix seconds).
    TokenExpiring(i64),
    /// A request failed.
    Error { code: String, message: String },
    /// Nothing that a viewer must know.
    Other,
}

/// Reads a frame; unknown ones are none of ours.
pub(super) fn read(text: &str) -> Saying {
    let Ok(Value::Object(mut frame)) = serde_json::from_str(text) else {
        return Saying::Other;
    };
    let Some(Value::Object(data)) = frame.remove("data") else {
        return Saying::Other;
    };
    let said = |name: &str| printable(data.get(name).and_then(Value::as_str).unwrap_or_default());
    match frame.get("type").and_then(Value::as_str) {
        Some("status") => Saying::Stale(
            data.get("stale")
                .and_then(Value::as_bool)
                .unwrap_or(false)
                .then(|| data.get("since").and_then(Value::as_i64).unwrap_or(0)),
        ),
        Some("token_expiring") => {
            Saying::TokenExpiring(data.get("at").and_then(Value::as_i64).unwrap_or_default())
        }
        Some("error") => Saying::Error {
            code: said("code"),
            message: said("message"),
        },
        Some("subscribed" | "unsubscribed" | "authenticated" | "pong") | None => Saying::Other,
        Some(_) => Saying::Numbers(data),
    }
}

/// The last line, and how wide its columns are.
pub(super) struct View {
    zone: TimeZone,
    is_colourful: bool,
    /// The key as the channel's name has it: shown nowhere, since it is what was asked for.
    key: String,
    widths: HashMap<String, usize>,
    last: Option<Map<String, Value>>,
}

impl View {
    pub(super) fn new(channel: &str, zone: TimeZone, is_colourful: bool) -> Self {
        let key = channel
            .split_once(':')
            .map_or(channel, |(_, key)| key)
            .to_owned();
        Self {
            zone,
            is_colourful,
            key,
            widths: HashMap::new(),
            last: None,
        }
    }

    /// The line for these numbers; None where they are the last ones again, as after a reconnect.
    pub(super) fn line(&mut self, mut columns: Map<String, Value>) -> Option<String> {
        let at = columns.shift_remove("timestamp").and_then(|at| at.as_i64());
        let is_key = |(_, value): (&String, &Value)| value.as_str() == Some(&self.key);
        if columns.iter().next().is_some_and(is_key) {
            columns = columns.into_iter().skip(1).collect();
        }
        if self.last.as_ref() == Some(&columns) {
            return None;
        }
        let cells: Vec<_> = columns
            .iter()
            .map(|(name, value)| self.cell(name, value))
            .collect();
        let line = format!(
            "{}  {}",
            self.time(at.unwrap_or_default()),
            cells.join("  ")
        );
        self.last = Some(columns);
        Some(line.trim_end().to_owned())
    }

    /// `name value`, as wide as the widest value so far, marked if it changed.
    fn cell(&mut self, name: &str, value: &Value) -> String {
        let text = printable(
            &value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned),
        );
        let width = self.widths.entry(name.to_owned()).or_default();
        *width = (*width).max(text.chars().count());
        let has_changed = self
            .last
            .as_ref()
            .is_some_and(|last| last.get(name) != Some(value));
        let (on, off) = if has_changed && self.is_colourful {
            (BOLD, PLAIN)
        } else {
            ("", "")
        };
        format!(
            "{} {on}{text:>width$}{off}",
            printable(name),
            width = *width
        )
    }

    /// The time of day.
    pub(super) fn time(&self, unix_s: i64) -> String {
        let at = Timestamp::from_second(unix_s)
            .unwrap_or_default()
            .to_zoned(self.zone.clone());
        at.strftime("%H:%M:%S").to_string()
    }
}

/// The zone of this machine: `TZ`, else what `/etc/localtime` holds, else UTC.
pub(super) fn local_zone() -> TimeZone {
    let by_name = std::env::var("TZ")
        .ok()
        .and_then(|name| TimeZone::get(name.trim_start_matches(':')).ok());
    let by_file = || {
        std::fs::read("/etc/localtime")
            .ok()
            .and_then(|data| TimeZone::tzif("Local", &data).ok())
    };
    by_name.or_else(by_file).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Map<String, Value> {
        match read(text) {
            Saying::Numbers(columns) => columns,
            other => panic!("{other:?}"),
        }
    }

    fn frame(today: &str, total: i64, at: i64) -> Map<String, Value> {
        numbers(&format!(
            r#"{{"type":"stats","data":{{"negocio_id":"n1","citas_hoy":{today},"total_citas":{total},"timestamp":{at}}},"channel":"estadisticas:n1","v":1}}"#
        ))
    }

    #[test]
    fn a_line_a_change_aligned_and_marked() {
        let mut view = View::new("estadisticas:n1", TimeZone::UTC, true);
        assert_eq!(
            view.line(frame("9", 156, 50_400)).unwrap(),
            "14:00:00  citas_hoy 9  total_citas 156"
        );
        assert_eq!(
            view.line(frame("9", 156, 50_999)),
            None,
            "the same numbers, read again"
        );
        let line = view.line(frame("12", 156, 50_401)).unwrap();
        assert_eq!(
            line,
            format!("14:00:01  citas_hoy {BOLD}12{PLAIN}  total_citas 156")
        );
        assert_eq!(
            view.line(frame("8", 156, 50_402)).unwrap(),
            format!("14:00:02  citas_hoy {BOLD} 8{PLAIN}  total_citas 156")
        );
    }

    #[test]
    fn without_a_terminal_nothing_is_marked() {
        let mut view = View::new(
            "estadisticas:n1",
            TimeZone::get("America/Guayaquil").unwrap(),
            false,
        );
        view.line(frame("9", 1, 50_400));
        assert_eq!(
            view.line(frame("10", 1, 50_400)).unwrap(),
            "09:00:00  citas_hoy 10  total_citas 1"
        );
    }

    #[test]
    fn text_can_t_steer_the_terminal() {
        let mut view = View::new("a:b", TimeZone::UTC, false);
        let line = view
            .line(numbers(
                r#"{"type":"x","data":{"na\u001bme":"\u001b[2Jred\u0007\u009b","n":null}}"#,
            ))
            .unwrap();
        assert_eq!(line, "00:00:00  name [2Jred  n null");
    }

    #[test]
    fn frames_are_told_apart() {
        assert_eq!(
            read(r#"{"type":"status","data":{"stale":true,"since":9}}"#),
            Saying::Stale(Some(9))
        );
        assert_eq!(
            read(r#"{"type":"status","data":{"stale":false}}"#),
            Saying::Stale(None)
        );
        assert_eq!(
            read(r#"{"type":"token_expiring","data":{"at":7}}"#),
            Saying::TokenExpiring(7)
        );
        let error = Saying::Error {
            code: "forbidden".into(),
            message: "no".into(),
        };
        assert_eq!(
            read(r#"{"type":"error","data":{"code":"forbidden","message":"no"}}"#),
            error
        );
        for other in [
            "",
            "[]",
            "{}",
            r#"{"type":"pong"}"#,
            r#"{"type":"subscribed","data":{"channel":"a:b"}}"#,
        ] {
            assert_eq!(read(other), Saying::Other, "{other}");
        }
    }
}
