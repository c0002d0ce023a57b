//! The report as JSON for other programs.

use serde_json::{Value, json};

use super::{BenchReport, ScenarioResult};

/// Renders one object: the conditions, and a list of scenarios with rows and goals.
pub(super) fn render(report: &BenchReport) -> anyhow::Result<String> {
    let document = json!({
        "conditions": report.conditions,
        "rounds": report.rounds,
        "quick": report.quick,
        "scenarios": report.chapters.iter().map(chapter).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&document)?)
}

fn chapter(chapter: &ScenarioResult) -> Value {
    let rows = chapter.series.iter().map(|series| {
        let (low, high) = series.range();
        json!({
            "scenario": chapter.name, "subject": series.subject, "measure": series.measure, "unit": series.unit,
            "value": series.median(), "low": low, "high": high, "rounds": series.values,
        })
    });
    let goals = chapter.goals.iter().map(|goal| {
        let value = chapter.goal_value(goal);
        json!({
            "title": goal.title(), "target": goal.bound.title(), "value": value,
            "verdict": value.map(|value| goal.bound.verdict(value)),
        })
    });
    let absent = chapter
        .skipped
        .iter()
        .map(|(subject, why)| json!({"subject": subject, "why": why}));
    json!({
        "name": chapter.name, "about": chapter.about, "seconds": chapter.seconds,
        "rows": rows.collect::<Vec<_>>(), "goals": goals.collect::<Vec<_>>(),
        "not_run": absent.collect::<Vec<_>>(), "notes": chapter.notes,
    })
}
