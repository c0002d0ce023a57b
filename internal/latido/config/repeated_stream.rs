//! Finds the stream that a configuration defines twice: the parser names neither it nor the first
//! place.

use latido_stream::is_name;

/// A stream whose table begins twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RepeatedStream<'a> {
    pub(super) name: &'a str,
    /// The numbers of the two lines, from 1.
    pub(super) lines: [usize; 2],
}

/// Returns the first stream whose table begins twice. The text is one that TOML refuses, so this goes
/// by lines.
pub(super) fn repeated_stream(text: &str) -> Option<RepeatedStream<'_>> {
    let mut seen: Vec<(&str, usize)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(name) = stream_of_header(line) else {
            continue;
        };
        let number = index + 1;
        match seen.iter().find(|(known, _)| *known == name) {
            Some((_, first)) => {
                let lines = [*first, number];
                return Some(RepeatedStream { name, lines });
            }
            None => seen.push((name, number)),
        }
    }
    None
}

/// Returns the name of the stream whose table a line begins: `[streams.NAME]`.
fn stream_of_header(line: &str) -> Option<&str> {
    let (header, rest) = line.trim().strip_prefix('[')?.split_once(']')?;
    let (first, name) = header.split_once('.')?;
    let is_end = rest.trim().is_empty() || rest.trim_start().starts_with('#');
    let name = name.trim().trim_matches(['"', '\'']);
    (first.trim() == "streams" && is_end && is_name(name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_places_are_found() {
        let text = "a = 1\n[streams.a]\n[[streams.a.tables]]\n[streams.a.params]\n[streams.b]\n [ streams . \"a\" ] # again\n";
        let lines = [2, 6];
        let repeated = RepeatedStream { name: "a", lines };
        assert_eq!(repeated_stream(text), Some(repeated));
        for other in [
            "",
            "[streams.a]\n[streams.b]",
            "[streams.a]\n[[streams.a]]",
            "[streams.a]\n[streams.a] = 1",
            "[streams.\"a b\"]\n[streams.\"a b\"]",
            "[apps.a]\n[apps.a]",
        ] {
            assert_eq!(repeated_stream(other), None, "{other}");
        }
    }
}
