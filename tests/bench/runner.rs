//! Runs the scenarios one after the other and collects their results.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::runtime::Runtime;

use crate::machine::Conditions;
use crate::options::BenchOptions;
use crate::report::{BenchReport, Goal, ScenarioResult};

/// A benchmark scenario and its measurement function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// The name, in lower-case letters and hyphens.
    pub(crate) name: &'static str,
    /// The description, as one sentence.
    pub(crate) about: &'static str,
    /// Runs the measurement. An error ends only this scenario and is reported.
    pub(crate) run: fn(&mut BenchContext) -> anyhow::Result<()>,
}

/// The context of a running scenario.
#[derive(Debug)]
pub(crate) struct BenchContext {
    runtime: Runtime,
    rounds: usize,
    quick: bool,
    chapter: ScenarioResult,
}

impl BenchContext {
    /// Returns the number of measurements of each subject.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds
    }

    /// Returns whether only a short trial was requested.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// Returns the measurement time in seconds: `full`, or less in a quick run.
    pub(crate) fn seconds(&self, full: f64) -> f64 {
        if self.quick {
            (full / 4.0).min(1.0)
        } else {
            full
        }
    }

    /// Returns the object count: `full`, or a tenth in a quick run.
    pub(crate) fn count(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(10) } else { full }
    }

    /// Returns a runtime for PostgreSQL clients. Its threads are not pinned to a core.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Adds the value of one round.
    pub(crate) fn sample(&mut self, subject: &str, measure: &str, unit: &'static str, value: f64) {
        self.chapter.sample(subject, measure, unit, value);
    }

    /// Adds a goal; see the constructors of [`Goal`].
    pub(crate) fn goal(&mut self, goal: Goal) {
        self.chapter.goals.push(goal);
    }

    /// Reports once that a subject was not run.
    pub(crate) fn report_skipped(&mut self, subject: &str, why: impl Display) {
        if !self
            .chapter
            .skipped
            .iter()
            .any(|(known, _)| known == subject)
        {
            self.chapter
                .skipped
                .push((subject.to_owned(), format!("{why:#}")));
        }
    }

    /// Adds a note for the reader. The same sentence is kept only once.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.chapter.notes.contains(&text) {
            self.chapter.notes.push(text);
        }
    }

    /// Measures each subject once per round. The order rotates from round to round, so that no
    /// subject always gets the warm machine. A failing subject is reported with its reason and
    /// skipped from then on.
    pub(crate) fn interleave<S: MeasuredSubject>(
        &mut self,
        subjects: &[S],
        mut measure: impl FnMut(&mut Self, &S) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut lost = vec![false; subjects.len()];
        for round in 0..self.rounds {
            let mut order: Vec<usize> = (0..subjects.len()).collect();
            order.rotate_left(round % subjects.len().max(1));
            for index in order
                .into_iter()
                .filter(|index| !lost[*index])
                .collect::<Vec<_>>()
            {
                if let Err(error) = measure(self, &subjects[index]) {
                    lost[index] = true;
                    let name = subjects[index].name();
                    self.report_skipped(&name, format!("{error:#}"));
                }
            }
        }
        Ok(())
    }
}

/// A subject that is measured in comparison with others.
pub(crate) trait MeasuredSubject {
    /// Returns the name of the subject in the report.
    fn name(&self) -> String;
}

impl MeasuredSubject for &str {
    fn name(&self) -> String {
        (*self).to_owned()
    }
}

/// Runs the requested scenarios, prints their results, and writes the report.
pub(crate) fn run(scenarios: &[Scenario], options: BenchOptions) -> anyhow::Result<()> {
    let folder = crate::output::output_folder()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    let mut report = BenchReport {
        conditions: Conditions::read(),
        rounds: options.rounds,
        quick: options.quick,
        chapters: Vec::new(),
    };
    let mut bench = BenchContext {
        runtime,
        rounds: options.rounds,
        quick: options.quick,
        chapter: ScenarioResult::default(),
    };
    for scenario in scenarios
        .iter()
        .filter(|scenario| options.wants(scenario.name))
    {
        bench.chapter = ScenarioResult {
            name: scenario.name,
            about: scenario.about,
            ..ScenarioResult::default()
        };
        let began = Instant::now();
        if let Err(error) = (scenario.run)(&mut bench) {
            bench.chapter.notes.push(format!("ended early: {error:#}"));
        }
        bench.chapter.seconds = began.elapsed().as_secs_f64();
        let chapter = std::mem::take(&mut bench.chapter);
        crate::output::print(&chapter.render())?;
        report.chapters.push(chapter);
        // Write the partial report now, in case a later scenario hangs the machine.
        report.write(&folder)?;
    }
    crate::output::print(&format!(
        "\nwritten to {}: bench.txt, bench.json, bench.svg\n",
        folder.display()
    ))
}

/// Polls `answer` until it returns a value, for at most `patience`.
pub(crate) fn poll_until<T>(
    timeout: Duration,
    what: &str,
    mut answer: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = answer() {
            return Ok(value);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{what}: not within {} s",
            timeout.as_secs()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}
