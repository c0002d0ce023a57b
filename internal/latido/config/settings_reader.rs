//! Reads settings one by one and collects all errors.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::{ConfigErrors, ConfigSources, Variable, parse};
use latido_auth::Secret;

/// The maximum length, in characters, of an invalid value that an error repeats.
const MAX_EXCERPT_CHARS: usize = 60;

pub(super) struct SettingsReader<'a> {
    sources: &'a ConfigSources,
    pub(super) errors: ConfigErrors,
}

impl<'a> SettingsReader<'a> {
    pub(super) fn new(sources: &'a ConfigSources) -> Self {
        Self {
            sources,
            errors: sources.errors.clone(),
        }
    }

    pub(super) fn text(&self, variable: &Variable) -> Option<&'a str> {
        self.sources.get(variable).map(str::trim)
    }

    /// Returns the value without trimming it, because blanks may be part of a secret.
    pub(super) fn secret(&self, variable: &Variable) -> Option<Secret> {
        self.sources.get(variable).map(Secret::new)
    }

    /// Parses the value. Returns `None` if it is missing or invalid; an invalid one is recorded as
    /// an error.
    pub(super) fn parse<T>(
        &mut self,
        variable: &Variable,
        expected: &str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(variable)?;
        let parsed = parse(text);
        if parsed.is_none() {
            let excerpt: String = text.chars().take(MAX_EXCERPT_CHARS).collect();
            let value = if variable.is_secret {
                String::new()
            } else {
                format!("{excerpt:?} is wrong; ")
            };
            self.errors
                .add(variable.name, format!("{value}expected {expected}"));
        }
        parsed
    }

    pub(super) fn number(
        &mut self,
        variable: &Variable,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        self.optional_number(variable, range).unwrap_or(default)
    }

    pub(super) fn optional_number(
        &mut self,
        variable: &Variable,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parse(variable, &expected, |text| {
            parse::digits(text).filter(|n| range.contains(n))
        })
    }

    pub(super) fn count(
        &mut self,
        variable: &Variable,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> usize {
        usize::try_from(self.number(variable, range, default)).unwrap_or(usize::MAX)
    }

    pub(super) fn seconds(
        &mut self,
        variable: &Variable,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Duration {
        Duration::from_secs(self.number(variable, range, default))
    }

    pub(super) fn boolean(&mut self, variable: &Variable, default: bool) -> bool {
        self.parse(variable, "true or false", parse::boolean)
            .unwrap_or(default)
    }

    /// Records an error under `name` if `result` is one.
    pub(super) fn ok_or_record<T>(
        &mut self,
        name: &str,
        result: Result<T, impl Display>,
    ) -> Option<T> {
        result
            .map_err(|error| self.errors.add(name, error.to_string()))
            .ok()
    }
}
