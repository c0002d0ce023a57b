//! The report as a text table.

use std::fmt::Write as _;

use super::{BenchReport, ScenarioResult};

/// The width of the first column, in characters.
const TITLE_WIDTH: usize = 72;

/// Renders a heading, then one block per scenario.
pub(super) fn render(report: &BenchReport) -> String {
    let c = &report.conditions;
    let mut text = format!(
        "latido {} · {} · {} cores · {} · Linux {} · {} · {} rounds{}\n",
        c.latido,
        c.date,
        c.cores,
        c.processor,
        c.kernel,
        c.congestion_control,
        report.rounds,
        if report.quick {
            " · QUICK: the figures mean little"
        } else {
            ""
        },
    );
    for chapter in &report.chapters {
        text.push_str(&render_chapter(chapter));
    }
    text
}

/// Renders the rows, goals and notes of one scenario.
pub(super) fn render_chapter(chapter: &ScenarioResult) -> String {
    let mut text = format!(
        "\n{}: {} ({:.0} s)\n",
        chapter.name, chapter.about, chapter.seconds
    );
    for series in &chapter.series {
        let (low, high) = series.range();
        let title = format!("{}: {}", series.subject, series.measure);
        let range = if series.values.len() > 1 {
            format!("  ({} to {})", format_figure(low), format_figure(high))
        } else {
            String::new()
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {title:TITLE_WIDTH$} {:>10} {}{range}",
            format_figure(series.median()),
            series.unit
        );
    }
    for goal in &chapter.goals {
        let (value, verdict) = match chapter.goal_value(goal) {
            Some(value) => (format_figure(value), goal.bound.verdict(value)),
            None => ("–".into(), "not measured"),
        };
        let title = format!("→ {}", goal.title());
        let _ = writeln!(
            text,
            "  {title:TITLE_WIDTH$} {value:>10} {} {verdict}",
            goal.bound.title()
        );
    }
    for (subject, why) in &chapter.skipped {
        let _ = writeln!(text, "  {subject}: not run: {why}");
    }
    for note in &chapter.notes {
        let _ = writeln!(text, "  · {note}");
    }
    text
}

/// Formats a figure with three significant digits, and whole numbers from a hundred on.
pub(super) fn format_figure(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "–".into(),
        v if v >= 99.95 || v == 0.0 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.0995 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
