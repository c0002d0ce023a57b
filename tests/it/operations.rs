//! The dashboard and the alerts name only metrics that a running server exposes, and omit none by
//! accident.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::TestApp;

/// The metrics of other exporters that are named, and their sources.
const FOREIGN_METRICS: &[(&str, &str)] = &[
    ("up", "Prometheus' own"),
    ("probe_success", "the blackbox exporter's"),
    ("container_memory_working_set_bytes", "cAdvisor's"),
];

/// The metrics of this server that no panel shows, each with its reason.
const UNUSED_METRICS: &[(&str, &str)] = &[];

fn read_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/operations")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics of an exposition: the sample names, and the values of each label.
struct MetricsExposition {
    /// The names of samples, such as `latido_read_seconds_bucket`.
    samples: BTreeSet<String>,
    /// The names of families, such as `latido_read_seconds`, or `latido_reads_total` where a family
    /// has one kind of sample.
    families: BTreeSet<String>,
    values: BTreeMap<(String, String), BTreeSet<String>>,
}

impl MetricsExposition {
    fn parse(text: &str) -> Self {
        let mut exposition = Self {
            samples: BTreeSet::new(),
            families: BTreeSet::new(),
            values: BTreeMap::new(),
        };
        for line in text.lines() {
            if let Some(family) = line
                .strip_prefix("# TYPE ")
                .and_then(|rest| rest.split(' ').next())
            {
                exposition.families.insert(family.to_owned());
            } else if !line.starts_with('#') {
                let name = line.split([' ', '{']).next().unwrap_or_default();
                exposition.samples.insert(name.to_owned());
                for (label, value) in matchers(line) {
                    exposition
                        .values
                        .entry((name.to_owned(), label))
                        .or_default()
                        .insert(value);
                }
            }
        }
        exposition
    }

    /// Returns the family that a sample belongs to.
    fn family(&self, sample: &str) -> Option<&String> {
        let suffixes = ["", "_bucket", "_sum", "_count"];
        suffixes
            .iter()
            .filter_map(|suffix| self.families.get(sample.strip_suffix(suffix)?))
            .next()
    }
}

/// Parses the `label="value"` pairs of the first braces.
fn matchers(text: &str) -> Vec<(String, String)> {
    let Some((inside, _)) = text
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
    else {
        return Vec::new();
    };
    let pair = |pair: &str| {
        let (label, value) = pair.split_once('=')?;
        let value = value.trim_start_matches('~').trim().trim_matches('"');
        Some((
            label.trim().trim_end_matches('!').to_owned(),
            value.to_owned(),
        ))
    };
    inside.split(',').filter_map(pair).collect()
}

/// Returns every metric that an expression names, with the rest of the expression from that name
/// on. Functions are followed by a bracket, labels stand in braces, and all other words are in
/// `WORDS`.
fn metrics_of(expression: &str) -> Vec<(String, &str)> {
    const WORDS: [&str; 9] = [
        "by", "without", "and", "or", "unless", "on", "ignoring", "le", "bool",
    ];
    let mut found = Vec::new();
    let (mut depth, mut grouping) = (0, false);
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        let word: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        if word.is_empty() || c.is_ascii_digit() {
            match c {
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                ')' => grouping = false,
                _ => {}
            }
            rest = &rest[word.len().max(c.len_utf8())..];
            continue;
        }
        let after = &rest[word.len()..];
        // Covers `sum(…)` and also `sum by (…) (…)`.
        let is_call = ["(", "by (", "without ("]
            .iter()
            .any(|start| after.trim_start().starts_with(start));
        if depth == 0 && !grouping && !is_call && !WORDS.contains(&&*word) && !rest.starts_with('$')
        {
            found.push((word.clone(), rest));
        }
        grouping |= is_call && ["by", "without", "on", "ignoring"].contains(&&*word);
        rest = after;
    }
    found
}

/// Returns every expression of the dashboard: panels, annotations and variables.
fn panel_expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read_file("grafana.json")).expect("JSON");
    let mut expressions = Vec::new();
    let mut values = vec![&dashboard];
    while let Some(value) = values.pop() {
        match value {
            Value::Array(items) => values.extend(items),
            Value::Object(fields) => {
                expressions.extend(
                    fields
                        .get("expr")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                let definition = fields.get("definition").and_then(Value::as_str);
                let inside = definition
                    .and_then(|text| text.strip_prefix("label_values(")?.rsplit_once(','));
                expressions.extend(inside.map(|(metric, _)| metric.to_owned()));
                values.extend(fields.values());
            }
            _ => {}
        }
    }
    expressions
}

fn alert_expressions() -> Vec<String> {
    let text = read_file("alerts.yml");
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_name_only_exposed_metrics() {
    let app = TestApp::start().await;
    let exposition = MetricsExposition::parse(&app.get("/metrics").await.1);
    let (panels, alerts) = (panel_expressions(), alert_expressions());
    assert!(
        panels.len() > 30 && alerts.len() > 10,
        "{} {}",
        panels.len(),
        alerts.len()
    );
    let mut used = BTreeSet::new();
    for expression in panels.iter().chain(&alerts) {
        let named = metrics_of(expression);
        assert!(!named.is_empty(), "{expression}");
        for (metric, rest) in named {
            if FOREIGN_METRICS
                .iter()
                .any(|(foreign, _)| *foreign == metric)
            {
                continue;
            }
            assert!(
                exposition.samples.contains(&metric),
                "{metric} is exposed by no server: {expression}"
            );
            used.extend(exposition.family(&metric).cloned());
            let own = if rest[metric.len()..].starts_with('{') {
                matchers(rest)
            } else {
                Vec::new()
            };
            // Prometheus adds these two labels itself.
            for (label, values) in own
                .iter()
                .filter(|(label, _)| label != "job" && label != "instance")
            {
                let known = exposition
                    .values
                    .get(&(metric.clone(), label.clone()))
                    .unwrap_or_else(|| panic!("{metric} has no {label}"));
                for value in values.split('|') {
                    assert!(
                        known.contains(value),
                        "{metric} has no {label}=\"{value}\", but {known:?}: {expression}"
                    );
                }
            }
        }
    }
    let unused: BTreeSet<_> = exposition
        .families
        .iter()
        .filter(|family| !used.contains(*family))
        .map(String::as_str)
        .collect();
    assert_eq!(
        unused,
        UNUSED_METRICS.iter().map(|(name, _)| *name).collect(),
        "left: the metrics that no panel and no alert uses"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_and_alert_is_documented() {
    let app = TestApp::start().await;
    let exposition = MetricsExposition::parse(&app.get("/metrics").await.1);
    let text = read_file("metrics.md") + &read_file("alerts.md");
    let missing: Vec<_> = exposition
        .families
        .iter()
        .filter(|family| {
            !text.contains(&format!("`{family}`")) && !text.contains(&format!("`{family}{{"))
        })
        .collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
    let named = text
        .split("`latido_")
        .skip(1)
        .filter_map(|rest| rest.split(['`', '{', ' ']).next());
    for name in named.map(|name| format!("latido_{name}")) {
        assert!(
            exposition.families.contains(&name),
            "{name} is documented but is not a metric"
        );
    }
    let rules = read_file("alerts.yml");
    let names: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    for name in &names {
        assert!(
            text.contains(&format!("`{name}`")),
            "{name} is not documented"
        );
    }
    assert_eq!(
        rules.matches(" runbook: ").count(),
        names.len(),
        "every alert has a runbook entry"
    );
}

#[test]
fn metric_names_are_parsed_from_expressions() {
    let names = |expression| {
        metrics_of(expression)
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("sum by (instance, le) (rate(a_total{x=\"y\"}[5m])) > 0.1 and b_count == 1"),
        ["a_total", "b_count"]
    );
    assert_eq!(
        names(
            "histogram_quantile(0.99, sum by (le) (rate(a_bucket{job=~\"$job\"}[$__rate_interval])))"
        ),
        ["a_bucket"]
    );
}
