//! Renders frames as lines of text. Pure.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::watch::reconnect::printable;

/// The column with the time at which the row was read.
const TIMESTAMP: &str = "timestamp";

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// A parsed frame of the server.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ServerMessage {
    /// The row's columns as text, numbers as the server wrote them, and `timestamp` as a number.
    Row(Map<String, Value>),
    /// The stale state: since when the numbers may be outdated (Unix seconds), or `None` if they
    /// are current again.
    Stale(Option<i64>),
    /// The token's expiry time, in Unix seconds.
    TokenExpiring(i64),
    /// The confirmation of a subscription.
    Subscribed,
    /// An error response to a request.
    Error { code: String, message: String },
    /// A frame that a viewer need not see.
    Other,
}

/// The columns of a frame as the server wrote them.
#[derive(Deserialize)]
struct WrittenFrame {
    data: HashMap<String, Box<RawValue>>,
}

/// Parses a frame. Unknown frames become `Other`.
pub(super) fn parse_frame(text: &str) -> ServerMessage {
    let Ok(Value::Object(mut frame)) = serde_json::from_str(text) else {
        return ServerMessage::Other;
    };
    let Some(Value::Object(data)) = frame.remove("data") else {
        return ServerMessage::Other;
    };
    let text_of =
        |name: &str| printable(data.get(name).and_then(Value::as_str).unwrap_or_default());
    match frame.get("type").and_then(Value::as_str) {
        Some("status") => ServerMessage::Stale(
            data.get("stale")
                .and_then(Value::as_bool)
                .unwrap_or(false)
                .then(|| data.get("since").and_then(Value::as_i64).unwrap_or(0)),
        ),
        Some("token_expiring") => {
            ServerMessage::TokenExpiring(data.get("at").and_then(Value::as_i64).unwrap_or_default())
        }
        Some("error") => ServerMessage::Error {
            code: text_of("code"),
            message: text_of("message"),
        },
        Some("subscribed") => ServerMessage::Subscribed,
        Some("unsubscribed" | "authenticated" | "pong") | None => ServerMessage::Other,
        Some(_) => ServerMessage::Row(keep_digits(data, text)),
    }
}

/// Replaces all but texts and `timestamp` by what the frame has for them: a number may have more
/// digits than a float keeps.
fn keep_digits(mut columns: Map<String, Value>, frame: &str) -> Map<String, Value> {
    let written = serde_json::from_str(frame).unwrap_or(WrittenFrame {
        data: HashMap::new(),
    });
    for (name, value) in &mut columns {
        if let Some(raw) = written.data.get(name.as_str())
            && !value.is_string()
            && name != TIMESTAMP
        {
            *value = Value::String(raw.get().to_owned());
        }
    }
    columns
}

/// A renderer that aligns columns and marks changed values.
pub(super) struct RowRenderer {
    zone: TimeZone,
    uses_colour: bool,
    /// The key from the channel's name. Its column is hidden, because every row repeats it.
    key: String,
    widths: HashMap<String, usize>,
    previous_row: Option<Map<String, Value>>,
}

impl RowRenderer {
    pub(super) fn new(channel: &str, zone: TimeZone, uses_colour: bool) -> Self {
        let key = channel
            .split_once(':')
            .map_or(channel, |(_, key)| key)
            .to_owned();
        Self {
            zone,
            uses_colour,
            key,
            widths: HashMap::new(),
            previous_row: None,
        }
    }

    /// Renders a row. Returns `None` if it equals the previous row, as after a reconnect.
    pub(super) fn render_row(&mut self, mut columns: Map<String, Value>) -> Option<String> {
        let at = columns.shift_remove(TIMESTAMP).and_then(|at| at.as_i64());
        let is_key = |(_, value): (&String, &Value)| value.as_str() == Some(&self.key);
        if columns.iter().next().is_some_and(is_key) {
            columns = columns.into_iter().skip(1).collect();
        }
        if self.previous_row.as_ref() == Some(&columns) {
            return None;
        }
        let cells: Vec<_> = columns
            .iter()
            .map(|(name, value)| self.render_cell(name, value))
            .collect();
        let line = format!(
            "{}  {}",
            self.format_time(at.unwrap_or_default()),
            cells.join("  ")
        );
        self.previous_row = Some(columns);
        Some(line.trim_end().to_owned())
    }

    /// Renders `name value`, padded to the widest value so far and marked if it has changed.
    fn render_cell(&mut self, name: &str, value: &Value) -> String {
        let text = printable(
            &value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned),
        );
        let width = self.widths.entry(name.to_owned()).or_default();
        *width = (*width).max(text.chars().count());
        let has_changed = self
            .previous_row
            .as_ref()
            .is_some_and(|last| last.get(name) != Some(value));
        let (on, off) = if has_changed && self.uses_colour {
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

    /// Formats a Unix time as time of day.
    pub(super) fn format_time(&self, unix_s: i64) -> String {
        let at = Timestamp::from_second(unix_s)
            .unwrap_or_default()
            .to_zoned(self.zone.clone());
        at.strftime("%H:%M:%S").to_string()
    }
}

/// Returns the machine's time zone: `TZ`, otherwise the content of `/etc/localtime`, otherwise UTC.
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
        match parse_frame(text) {
            ServerMessage::Row(columns) => columns,
            other => panic!("{other:?}"),
        }
    }

    fn frame(today: &str, total: i64, at: i64) -> Map<String, Value> {
        numbers(&format!(
            r#"{{"type":"stats","data":{{"negocio_id":"n1","citas_hoy":{today},"total_citas":{total},"timestamp":{at}}},"channel":"estadisticas:n1","v":1}}"#
        ))
    }

    #[test]
    fn each_change_is_one_aligned_line() {
        let mut view = RowRenderer::new("estadisticas:n1", TimeZone::UTC, true);
        assert_eq!(
            view.render_row(frame("9", 156, 50_400)).unwrap(),
            "14:00:00  citas_hoy 9  total_citas 156"
        );
        assert_eq!(
            view.render_row(frame("9", 156, 50_999)),
            None,
            "the same numbers, read again"
        );
        let line = view.render_row(frame("12", 156, 50_401)).unwrap();
        assert_eq!(
            line,
            format!("14:00:01  citas_hoy {BOLD}12{PLAIN}  total_citas 156")
        );
        assert_eq!(
            view.render_row(frame("8", 156, 50_402)).unwrap(),
            format!("14:00:02  citas_hoy {BOLD} 8{PLAIN}  total_citas 156")
        );
    }

    #[test]
    fn changes_are_not_marked_without_a_terminal() {
        let mut view = RowRenderer::new(
            "estadisticas:n1",
            TimeZone::get("America/Guayaquil").unwrap(),
            false,
        );
        view.render_row(frame("9", 1, 50_400));
        assert_eq!(
            view.render_row(frame("10", 1, 50_400)).unwrap(),
            "09:00:00  citas_hoy 10  total_citas 1"
        );
    }

    #[test]
    fn numbers_keep_their_digits() {
        let mut view = RowRenderer::new("a:b", TimeZone::UTC, false);
        let line = view.render_row(numbers(
            r#"{"type":"x","data":{"a":"b","n":47840.00,"m":12345678901234567.89,"l":[1.10,null],"timestamp":1}}"#,
        ));
        let expected = "00:00:01  n 47840.00  m 12345678901234567.89  l [1.10,null]";
        assert_eq!(line.as_deref(), Some(expected));
    }

    #[test]
    fn control_characters_are_removed() {
        let mut view = RowRenderer::new("a:b", TimeZone::UTC, false);
        let line = view
            .render_row(numbers(
                r#"{"type":"x","data":{"na\u001bme":"\u001b[2Jred\u0007\u009b","n":null}}"#,
            ))
            .unwrap();
        assert_eq!(line, "00:00:00  name [2Jred  n null");
    }

    #[test]
    fn frames_are_parsed_by_type() {
        assert_eq!(
            parse_frame(r#"{"type":"status","data":{"stale":true,"since":9}}"#),
            ServerMessage::Stale(Some(9))
        );
        assert_eq!(
            parse_frame(r#"{"type":"status","data":{"stale":false}}"#),
            ServerMessage::Stale(None)
        );
        assert_eq!(
            parse_frame(r#"{"type":"token_expiring","data":{"at":7}}"#),
            ServerMessage::TokenExpiring(7)
        );
        let error = ServerMessage::Error {
            code: "forbidden".into(),
            message: "no".into(),
        };
        assert_eq!(
            parse_frame(r#"{"type":"error","data":{"code":"forbidden","message":"no"}}"#),
            error
        );
        assert_eq!(
            parse_frame(r#"{"type":"subscribed","data":{"channel":"a:b"}}"#),
            ServerMessage::Subscribed
        );
        for other in ["", "[]", "{}", r#"{"type":"pong"}"#] {
            assert_eq!(parse_frame(other), ServerMessage::Other, "{other}");
        }
    }
}
