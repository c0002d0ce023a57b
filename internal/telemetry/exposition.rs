//! The two text formats that scrapers read.

/// How metrics are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' own format 0.0.4, which everything reads.
    Classic,
    /// OpenMetrics 1.0, for scrapers that ask for it.
    OpenMetrics,
}

/// OpenMetrics text as the classic format: a counter's family is named as its samples are, there are no units, and no end is marked.
/// What OpenMetrics alone may say of a sample (timestamps in seconds, exemplars) is never written here.
pub(super) fn classic(open: &str) -> String {
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
            if let Some((_, said)) = help.take() {
                text.push_str(&format!("# HELP {name}{total} {said}\n"));
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
    fn counters_are_named_as_their_samples() {
        let open = "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total{by=\"x\"} 3\n\
                    # HELP b Something.\n# TYPE b gauge\nb 1\n# EOF\n";
        let expected = "# HELP a_bytes_total Bytes.\n# TYPE a_bytes_total counter\na_bytes_total{by=\"x\"} 3\n\
                        # HELP b Something.\n# TYPE b gauge\nb 1\n";
        assert_eq!(classic(open), expected);
    }
}
