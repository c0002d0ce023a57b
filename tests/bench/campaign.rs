//! Runs scenarios one after the other and collects what they say.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::runtime::Runtime;

use crate::machine::Conditions;
use crate::options::Options;
use crate::report::{Chapter, Goal, Report};

/// A question, and how it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Lower-case letters and hyphens.
    pub(crate) name: &'static str,
    /// One sentence.
    pub(crate) about: &'static str,
    /// Measures. An error ends this scenario alone and is reported.
    pub(crate) run: fn(&mut Bench) -> anyhow::Result<()>,
}

/// What a running scenario works with.
#[derive(Debug)]
pub(crate) struct Bench {
    runtime: Runtime,
    rounds: usize,
    quick: bool,
    chapter: Chapter,
}

impl Bench {
    /// How often each subject is to be measured.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds
    }

    /// Whether only a trial was asked for.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// How long to measure when `full` seconds are wanted.
    pub(crate) fn seconds(&self, full: f64) -> f64 {
        if self.quick {
            (full / 4.0).min(1.0)
        } else {
            full
        }
    }

    /// How many, when `full` are wanted.
    pub(crate) fn count(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(10) } else { full }
    }

    /// A runtime for whoever talks to Postgres; its threads are not pinned.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Adds one round's value.
    pub(crate) fn sample(&mut self, subject: &str, measure: &str, unit: &'static str, value: f64) {
        self.chapter.sample(subject, measure, unit, value);
    }

    /// Sets a goal; see [`Goal`]'s constructors.
    pub(crate) fn goal(&mut self, goal: Goal) {
        self.chapter.goals.push(goal);
    }

    /// Says that a subject was not run, once.
    pub(crate) fn not_run(&mut self, subject: &str, why: impl Display) {
        if !self
            .chapter
            .absent
            .iter()
            .any(|(known, _)| known == subject)
        {
            self.chapter
                .absent
                .push((subject.to_owned(), format!("{why:#}")));
        }
    }

    /// Something that the reader should know; the same sentence is kept once.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.chapter.notes.contains(&text) {
            self.chapter.notes.push(text);
        }
    }

    /// Measures each subject once a round. The order turns from round to round, so that nobody always has the warm machine. A subject
    /// that fails is named with its reason, and left out from then on.
    pub(crate) fn interleave<S: Subject>(
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
                    self.not_run(&name, format!("{error:#}"));
                }
            }
        }
        Ok(())
    }
}

/// Something that is measured beside others.
pub(crate) trait Subject {
    /// Its name in the report.
    fn name(&self) -> String;
}

impl Subject for &str {
    fn name(&self) -> String {
        (*self).to_owned()
    }
}

/// Runs what is wanted, prints as it goes, writes the report.
pub(crate) fn run(scenarios: &[Scenario], options: Options) -> anyhow::Result<()> {
    let folder = crate::folder()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    let mut report = Report {
        conditions: Conditions::read(),
        rounds: options.rounds,
        quick: options.quick,
        chapters: Vec::new(),
    };
    let mut bench = Bench {
        runtime,
        rounds: options.rounds,
        quick: options.quick,
        chapter: Chapter::default(),
    };
    for scenario in scenarios
        .iter()
        .filter(|scenario| options.wants(scenario.name))
    {
        bench.chapter = Chapter {
            name: scenario.name,
            about: scenario.about,
            ..Chapter::default()
        };
        let began = Instant::now();
        if let Err(error) = (scenario.run)(&mut bench) {
            bench.chapter.notes.push(format!("ended early: {error:#}"));
        }
        bench.chapter.seconds = began.elapsed().as_secs_f64();
        let chapter = std::mem::take(&mut bench.chapter);
        crate::say(&chapter.render())?;
        report.chapters.push(chapter);
        // What is there is there, should a later scenario hang the machine.
        report.write(&folder)?;
    }
    crate::say(&format!(
        "\nwritten to {}: bench.txt, bench.json, bench.svg\n",
        folder.display()
    ))
}

/// Asks again and again until `answer` says something, at most `patience` long.
pub(crate) fn await_some<T>(
    patience: Duration,
    what: &str,
    mut answer: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = answer() {
            return Ok(value);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{what}: not within {} s",
            patience.as_secs()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}
