//! The results of a run.

use crate::machine::Conditions;

/// The results of a complete run.
#[derive(Debug)]
pub(crate) struct BenchReport {
    /// The machine and the start time.
    pub(crate) conditions: Conditions,
    /// The number of requested rounds.
    pub(crate) rounds: usize,
    /// True if the measurements were shortened, so that the figures mean little.
    pub(crate) quick: bool,
    /// The results of each scenario, in the order of their runs.
    pub(crate) chapters: Vec<ScenarioResult>,
}

/// The results of one scenario.
#[derive(Debug, Default)]
pub(crate) struct ScenarioResult {
    /// The name of the scenario.
    pub(crate) name: &'static str,
    /// The description of the scenario, as one sentence.
    pub(crate) about: &'static str,
    /// The series in the order of their first samples.
    pub(crate) series: Vec<MeasureSeries>,
    /// The goals in the order in which they were set.
    pub(crate) goals: Vec<Goal>,
    /// The subjects that were not run, each with the reason.
    pub(crate) skipped: Vec<(String, String)>,
    /// The notes for the reader.
    pub(crate) notes: Vec<String>,
    /// The duration of the scenario, in seconds.
    pub(crate) seconds: f64,
}

/// One measure of one subject, with one value per round.
#[derive(Debug, Clone)]
pub(crate) struct MeasureSeries {
    /// The subject of the measure: `latido`, `floor` or a peer.
    pub(crate) subject: String,
    /// The name of the measure.
    pub(crate) measure: String,
    /// The unit of the values.
    pub(crate) unit: &'static str,
    /// The values in the order of the rounds.
    pub(crate) values: Vec<f64>,
}

/// A goal for a measure. The report states whether it is met; nothing else depends on it.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    /// The subject whose measure is compared.
    pub(crate) subject: String,
    /// The name of the measure.
    pub(crate) measure: String,
    /// The subject and measure that divide the value, or `None` for the value itself.
    pub(crate) against: Option<(String, String)>,
    /// The limit of the value or ratio.
    pub(crate) bound: GoalBound,
}

/// A limit for a goal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GoalBound {
    /// An upper limit: smaller values are better.
    AtMost(f64),
    /// A lower limit: larger values are better.
    AtLeast(f64),
    /// No limit; the report only shows the ratio.
    Unlimited,
}

impl Goal {
    /// Creates a goal for `subject`'s `measure` as a multiple of `other`'s.
    pub(crate) fn ratio(subject: &str, measure: &str, other: &str, bound: GoalBound) -> Self {
        Self::between(subject, measure, (other, measure), bound)
    }

    /// Creates a goal for the ratio of two different measures.
    pub(crate) fn between(
        subject: &str,
        measure: &str,
        other: (&str, &str),
        bound: GoalBound,
    ) -> Self {
        let against = Some((other.0.to_owned(), other.1.to_owned()));
        Self {
            subject: subject.to_owned(),
            measure: measure.to_owned(),
            against,
            bound,
        }
    }

    /// Creates a goal for the value itself.
    pub(crate) fn value(subject: &str, measure: &str, bound: GoalBound) -> Self {
        Self {
            subject: subject.to_owned(),
            measure: measure.to_owned(),
            against: None,
            bound,
        }
    }

    /// Describes the goal in words.
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

impl GoalBound {
    /// Describes the limit for the table.
    pub(crate) fn title(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::AtLeast(limit) => format!("≥ {limit}"),
            Self::Unlimited => String::new(),
        }
    }

    /// Returns the verdict in one word, or an empty string if there is no limit.
    pub(crate) fn verdict(self, value: f64) -> &'static str {
        let met = match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::Unlimited => return "",
        };
        if met { "met" } else { "missed" }
    }
}

impl MeasureSeries {
    /// Returns the median over the rounds.
    pub(crate) fn median(&self) -> f64 {
        median(&self.values)
    }

    /// Returns the smallest and the largest value.
    pub(crate) fn range(&self) -> (f64, f64) {
        self.values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(*v), high.max(*v))
            })
    }
}

impl ScenarioResult {
    /// Adds the value of one round.
    pub(crate) fn sample(&mut self, subject: &str, measure: &str, unit: &'static str, value: f64) {
        let known = self
            .series
            .iter_mut()
            .find(|s| s.subject == subject && s.measure == measure);
        match known {
            Some(series) => series.values.push(value),
            None => {
                let (subject, measure) = (subject.to_owned(), measure.to_owned());
                self.series.push(MeasureSeries {
                    subject,
                    measure,
                    unit,
                    values: vec![value],
                });
            }
        }
    }

    /// Returns the series of a measure, if it was sampled.
    pub(crate) fn find(&self, subject: &str, measure: &str) -> Option<&MeasureSeries> {
        self.series
            .iter()
            .find(|s| s.subject == subject && s.measure == measure)
    }

    /// Returns the value that a goal compares: the median over rounds of the ratio within a round.
    /// Absolute figures drift with the machine's neighbours; ratios of the same minute do not.
    /// Returns `None` if one side was not measured.
    pub(crate) fn goal_value(&self, goal: &Goal) -> Option<f64> {
        let series = self.find(&goal.subject, &goal.measure)?;
        let Some((subject, measure)) = &goal.against else {
            return Some(series.median());
        };
        let reference = self.find(subject, measure)?;
        let value = if series.values.len() == reference.values.len() {
            median(
                &series
                    .values
                    .iter()
                    .zip(&reference.values)
                    .map(|(a, b)| a / b)
                    .collect::<Vec<_>>(),
            )
        } else {
            series.median() / reference.median()
        };
        value.is_finite().then_some(value)
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
