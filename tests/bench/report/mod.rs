//! What was measured: samples in rounds, goals, what could not be run and why.

mod chart;
mod json;
mod table;

use std::path::Path;

use anyhow::Context as _;

use crate::machine::Conditions;

/// Everything of one run.
#[derive(Debug)]
pub(crate) struct Report {
    /// Where and when.
    pub(crate) conditions: Conditions,
    /// Rounds asked for.
    pub(crate) rounds: usize,
    /// Whether the measurements were shortened, so that the figures mean little.
    pub(crate) quick: bool,
    /// One a scenario, in the order they ran.
    pub(crate) chapters: Vec<Chapter>,
}

/// One scenario's results.
#[derive(Debug, Default)]
pub(crate) struct Chapter {
    /// The scenario's name.
    pub(crate) name: &'static str,
    /// What it measures, in a sentence.
    pub(crate) about: &'static str,
    /// In the order they first came.
    pub(crate) series: Vec<Series>,
    /// In the order they were set.
    pub(crate) goals: Vec<Goal>,
    /// Subject, and why it was not run.
    pub(crate) absent: Vec<(String, String)>,
    /// What the reader should know.
    pub(crate) notes: Vec<String>,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// One measure of one subject, a value a round.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Who was measured: `latido`, `floor`, a peer.
    pub(crate) subject: String,
    /// What was measured.
    pub(crate) measure: String,
    /// In which unit.
    pub(crate) unit: &'static str,
    /// In the order of the rounds.
    pub(crate) values: Vec<f64>,
}

/// What the figures are compared with. Meeting it or not is said, and nothing else follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    /// Whose measure.
    pub(crate) subject: String,
    /// Which one.
    pub(crate) measure: String,
    /// Divided by this subject's and measure's value; none: the value itself.
    pub(crate) against: Option<(String, String)>,
    /// How far it may go.
    pub(crate) bound: Bound,
}

/// A limit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// Smaller is better.
    AtMost(f64),
    /// Larger is better.
    AtLeast(f64),
    /// Nothing was promised; the ratio is of interest.
    Shown,
}

impl Goal {
    /// `subject`'s `measure` as a multiple of `other`'s.
    pub(crate) fn ratio(subject: &str, measure: &str, other: &str, bound: Bound) -> Self {
        Self::between(subject, measure, (other, measure), bound)
    }

    /// The same between two measures.
    pub(crate) fn between(subject: &str, measure: &str, other: (&str, &str), bound: Bound) -> Self {
        let against = Some((other.0.to_owned(), other.1.to_owned()));
        Self {
            subject: subject.to_owned(),
            measure: measure.to_owned(),
            against,
            bound,
        }
    }

    /// The value as it is.
    pub(crate) fn value(subject: &str, measure: &str, bound: Bound) -> Self {
        Self {
            subject: subject.to_owned(),
            measure: measure.to_owned(),
            against: None,
            bound,
        }
    }

    /// In words.
    pub(crate) fn title(&self) -> String {
        match &self.against {
            None => format!("{}: {}", self.subject, self.measure),
            Some((other, measure)) if *measure == self.measure => {
                format!("{}: {} ÷ {other}", self.subject, self.measure)
            }
            Some((other, measure)) => {
                format!("{}: {} ÷ {other}: {measure}", self.subject, self.measure)
            }
        }
    }
}

impl Bound {
    /// As the table shows it.
    pub(crate) fn title(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::AtLeast(limit) => format!("≥ {limit}"),
            Self::Shown => String::new(),
        }
    }

    /// In one word; empty where nothing was promised.
    pub(crate) fn verdict(self, value: f64) -> &'static str {
        let met = match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::Shown => return "",
        };
        if met { "met" } else { "missed" }
    }
}

impl Series {
    /// The middle value.
    pub(crate) fn median(&self) -> f64 {
        median(&self.values)
    }

    /// Smallest and largest.
    pub(crate) fn range(&self) -> (f64, f64) {
        self.values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(*v), high.max(*v))
            })
    }
}

impl Chapter {
    /// Adds one round's value.
    pub(crate) fn sample(&mut self, subject: &str, measure: &str, unit: &'static str, value: f64) {
        let known = self
            .series
            .iter_mut()
            .find(|s| s.subject == subject && s.measure == measure);
        match known {
            Some(series) => series.values.push(value),
            None => {
                let (subject, measure) = (subject.to_owned(), measure.to_owned());
                self.series.push(Series {
                    subject,
                    measure,
                    unit,
                    values: vec![value],
                });
            }
        }
    }

    /// The block of the table, for people.
    pub(crate) fn render(&self) -> String {
        table::render_chapter(self)
    }

    /// The series of a measure.
    pub(crate) fn find(&self, subject: &str, measure: &str) -> Option<&Series> {
        self.series
            .iter()
            .find(|s| s.subject == subject && s.measure == measure)
    }

    /// What a goal compares: the median over rounds of the ratio within a round, because absolute figures drift with the machine's
    /// neighbours and ratios of the same minute do not. None if one side was not measured.
    pub(crate) fn reached(&self, goal: &Goal) -> Option<f64> {
        let ours = self.find(&goal.subject, &goal.measure)?;
        let Some((subject, measure)) = &goal.against else {
            return Some(ours.median());
        };
        let theirs = self.find(subject, measure)?;
        let value = if ours.values.len() == theirs.values.len() {
            median(
                &ours
                    .values
                    .iter()
                    .zip(&theirs.values)
                    .map(|(a, b)| a / b)
                    .collect::<Vec<_>>(),
            )
        } else {
            ours.median() / theirs.median()
        };
        value.is_finite().then_some(value)
    }
}

impl Report {
    /// The table, for people.
    pub(crate) fn table(&self) -> String {
        table::render(self)
    }

    /// Writes `bench.json` and `bench.svg` into a folder.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        write("bench.json", json::render(self)?)?;
        write("bench.txt", self.table())?;
        write("bench.svg", chart::render(self))
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
