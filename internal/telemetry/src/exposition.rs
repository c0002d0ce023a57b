//! The two text formats of the metrics endpoint.

/// The text format in which metrics are rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// The Prometheus text format 0.0.4, which every scraper accepts.
    Classic,
    /// OpenMetrics 1.0, for scrapers that request it.
    OpenMetrics,
}

/// Converts OpenMetrics text to the classic format: a counter's family has the name of its samples,
/// and there are no `# UNIT` and `# EOF` lines. The samples need no conversion, because the server
/// writes neither timestamps nor exemplars.
pub(super) fn to_classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text_of_help)) = help.take() {
                text.push_str(&format!("# HELP {name}{total} {text_of_help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{total} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_families_are_named_like_their_samples() {
        let open = "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total{by=\"x\"} 3\n\
                    # HELP b Something.\n# TYPE b gauge\nb 1\n# EOF\n";
        let expected = "# HELP a_bytes_total Bytes.\n# TYPE a_bytes_total counter\na_bytes_total{by=\"x\"} 3\n\
                        # HELP b Something.\n# TYPE b gauge\nb 1\n";
        assert_eq!(to_classic(open), expected);
    }
}
