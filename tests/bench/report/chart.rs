//! The report as a chart: one bar per row, one block per scenario and measure.

use std::fmt::Write as _;

use super::table::format_figure;
use super::{BenchReport, MeasureSeries, ScenarioResult};

const WIDTH: usize = 860;
const LABEL_WIDTH: usize = 260;
const BAR_WIDTH: f64 = 440.0;
const LINE: usize = 20;

/// The units in which less is better, so that bars are comparable at a glance.
const DRAWN_UNITS: [&str; 3] = ["µs", "ms", "KiB"];

/// The bar colours of Latido, the floor and the peers.
const LATIDO_COLOUR: &str = "#2563eb";
const FLOOR_COLOUR: &str = "#9ca3af";
const PEER_COLOUR: &str = "#d1b48c";

/// Draws every measure in which at least two subjects were compared.
pub(super) fn render(report: &BenchReport) -> String {
    let (mut body, mut y) = (String::new(), 56);
    for chapter in &report.chapters {
        y = draw_chapter(&mut body, chapter, y);
    }
    let c = &report.conditions;
    let about = format!(
        "{} · {} cores · {} · Linux {} · shorter is better",
        c.date, c.cores, c.processor, c.kernel
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"17\" font-weight=\"600\">Latido beside its floor and its peers</text>\n\
         <text x=\"16\" y=\"44\" fill=\"#6b7280\">{}</text>\n{body}</svg>\n",
        y + 12,
        escape(&about),
    )
}

fn draw_chapter(body: &mut String, chapter: &ScenarioResult, mut y: usize) -> usize {
    let mut drawn: Vec<&str> = Vec::new();
    for series in &chapter.series {
        let measure = series.measure.as_str();
        let alike: Vec<_> = chapter
            .series
            .iter()
            .filter(|other| other.measure == measure)
            .collect();
        if alike.len() < 2 || drawn.contains(&measure) || !DRAWN_UNITS.contains(&series.unit) {
            continue;
        }
        drawn.push(measure);
        y += LINE + 6;
        let title = escape(&format!("{} · {measure}, {}", chapter.name, series.unit));
        // Writing to a String cannot fail.
        let _ = writeln!(
            body,
            "<text x=\"16\" y=\"{y}\" font-weight=\"600\">{title}</text>"
        );
        y = draw_bars(body, &alike, y);
    }
    y
}

fn draw_bars(body: &mut String, alike: &[&MeasureSeries], mut y: usize) -> usize {
    let most = alike
        .iter()
        .map(|series| series.median())
        .fold(f64::MIN_POSITIVE, f64::max);
    for series in alike {
        y += LINE;
        let (value, top) = (series.median(), y - 12);
        let width = (value / most * BAR_WIDTH).clamp(1.0, BAR_WIDTH);
        let colour = match series.subject.as_str() {
            name if name.starts_with("latido") => LATIDO_COLOUR,
            name if name.starts_with("floor") => FLOOR_COLOUR,
            _ => PEER_COLOUR,
        };
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text><rect x=\"{LABEL_WIDTH}\" y=\"{top}\" width=\"{width:.1}\" \
             height=\"14\" rx=\"2\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{y}\">{}</text>",
            LABEL_WIDTH - 8,
            escape(&series.subject),
            LABEL_WIDTH as f64 + width + 6.0,
            format_figure(value),
        );
    }
    y
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
