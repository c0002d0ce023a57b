//! Reads settings one by one and collects all errors.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use latido_base::secret::Secret;

use crate::{ConfigErrors, ConfigSources, Setting, Variable, parse};

/// The maximum length, in characters, of an invalid value that an error repeats.
const MAX_EXCERPT_CHARS: usize = 60;

/// The reader of settings. It never stops at an error: an invalid setting is recorded and its
/// default returned, so that all errors are reported together.
#[derive(Debug)]
pub struct SettingsReader<'a> {
    sources: &'a ConfigSources,
    /// The errors found so far.
    pub errors: ConfigErrors,
    /// Messages about settings that work but deserve attention.
    pub warnings: Vec<String>,
}

impl<'a> SettingsReader<'a> {
    /// Creates a reader. Errors of the sources themselves are recorded first.
    pub fn new(sources: &'a ConfigSources) -> Self {
        Self {
            sources,
            errors: sources.errors().clone(),
            warnings: Vec::new(),
        }
    }

    /// Returns the trimmed value, or `None` if the variable is unset.
    pub fn text(&self, variable: &Variable) -> Option<&'a str> {
        self.sources.get(variable).map(str::trim)
    }

    /// Returns whether the variable is set, but to nothing. It then counts as unset.
    pub fn is_empty(&self, variable: &Variable) -> bool {
        self.sources.is_empty(variable)
    }

    /// Returns the trimmed value or the default.
    pub fn text_or_default(&self, setting: &Setting<&'static str>) -> &'a str {
        self.text(setting).unwrap_or(setting.default)
    }

    /// Returns the value without trimming it, because blanks may be part of a secret.
    pub fn secret(&self, variable: &Variable) -> Option<Secret> {
        self.sources.get(variable).map(Secret::new)
    }

    /// Returns the entries of a comma-separated list, or `None` if the variable is unset. The word
    /// `none` stands for an empty list.
    pub fn list_or_none(&self, variable: &Variable) -> Option<Vec<String>> {
        self.text(variable).map(|text| match text {
            "none" => Vec::new(),
            entries => parse::list(entries),
        })
    }

    /// Parses the value. Returns `None` if it is missing or invalid; an invalid one is recorded as
    /// an error.
    pub fn parse<T>(
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

    /// Reads a whole number within `range`.
    pub fn number<N>(&mut self, setting: &Setting<N>, range: RangeInclusive<N>) -> N
    where
        N: TryFrom<u64> + PartialOrd + Display + Copy,
    {
        self.optional_number(setting, range)
            .unwrap_or(setting.default)
    }

    /// Reads a whole number within `range`. Returns `None` if it is missing or invalid.
    pub fn optional_number<N>(&mut self, variable: &Variable, range: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<u64> + PartialOrd + Display + Copy,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parse(variable, &expected, |text| {
            let number = N::try_from(parse::digits(text)?).ok()?;
            range.contains(&number).then_some(number)
        })
    }

    /// Reads a duration in whole seconds.
    pub fn seconds(
        &mut self,
        setting: &Setting<Duration>,
        range_s: RangeInclusive<u64>,
    ) -> Duration {
        self.optional_number(setting, range_s)
            .map_or(setting.default, Duration::from_secs)
    }

    /// Reads a duration in whole milliseconds.
    pub fn milliseconds(
        &mut self,
        setting: &Setting<Duration>,
        range_ms: RangeInclusive<u64>,
    ) -> Duration {
        self.optional_number(setting, range_ms)
            .map_or(setting.default, Duration::from_millis)
    }

    /// Reads a boolean.
    pub fn boolean(&mut self, setting: &Setting<bool>) -> bool {
        self.parse(setting, "true or false", parse::boolean)
            .unwrap_or(setting.default)
    }

    /// Reads an IP address to listen on. Returns `None` if it is missing or invalid.
    pub fn listen_ip(&mut self, variable: &Variable) -> Option<std::net::IpAddr> {
        let expected = "an IP address such as 0.0.0.0, :: or 127.0.0.1";
        self.parse(variable, expected, parse::ip_address)
    }

    /// Reads the name of an IANA time zone, such as `example`. Returns its canonical spelling, or
    /// `None` if it is missing or invalid.
    pub fn time_zone(&mut self, variable: &Variable, example: &str) -> Option<String> {
        let expected = format!("an IANA time zone such as {example}");
        self.parse(variable, &expected, parse::time_zone)
    }

    /// Records an error if the variable is unset. A variable whose file cannot be read has its error
    /// already.
    pub fn require(&mut self, variable: &Variable, expected: &str) {
        if self.text(variable).is_none() && !self.sources.has_failed_file(variable) {
            self.errors
                .add(variable.name, format!("missing; expected {expected}"));
        }
    }

    /// Returns the value of `result`, or records its error under `name`.
    pub fn ok_or_record<T>(&mut self, name: &str, result: Result<T, impl Display>) -> Option<T> {
        result
            .map_err(|error| self.errors.add(name, error.to_string()))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::variables! {
        const VARIABLES;
        "Tests" {
            plain CHANNELS "N" = u16(100), "A number with a default";
            plain WAIT "SECONDS" = seconds(Duration::from_secs(3)), "A duration with a default";
            plain NAP "MILLISECONDS" = milliseconds(Duration::from_millis(5)), "A shorter duration";
            plain IS_OPEN "true|false" = bool(true), "A boolean with a default";
            plain COOKIE "NAME" = text("id"), "A text with a default";
            plain ROLES "LIST" = shown("admin"), "A list";
            secret KEY "KEY" = none, "A secret without a default";
        }
    }

    #[test]
    fn unset_variable_has_the_default_of_the_table() {
        let sources = ConfigSources::from_variables(&[("COOKIE", " ")]);
        let r = &mut SettingsReader::new(&sources);
        assert_eq!(r.number(&CHANNELS, 1..=200), 100);
        assert_eq!(r.seconds(&WAIT, 1..=9), Duration::from_secs(3));
        assert_eq!(r.milliseconds(&NAP, 0..=9), Duration::from_millis(5));
        assert!(r.boolean(&IS_OPEN) && r.secret(&KEY).is_none() && r.errors.is_empty());
        assert_eq!((r.text_or_default(&COOKIE), r.text(&COOKIE)), ("id", None));
        assert_eq!(r.list_or_none(&ROLES), None);
        let shown: Vec<_> = VARIABLES.iter().map(|v| v.default.to_string()).collect();
        assert_eq!(shown, ["100", "3", "5", "true", "id", "admin", ""]);
    }

    #[test]
    fn invalid_values_are_recorded_and_secrets_are_not_shown() {
        let sources = ConfigSources::from_variables(&[
            ("CHANNELS", "70000"),
            ("WAIT", "+1"),
            ("IS_OPEN", "perhaps"),
            ("KEY", "hunter2"),
            ("ROLES", "none"),
        ]);
        let r = &mut SettingsReader::new(&sources);
        assert_eq!(
            (r.number(&CHANNELS, 1..=200), r.boolean(&IS_OPEN)),
            (100, true)
        );
        assert_eq!(r.seconds(&WAIT, 1..=9), WAIT.default);
        assert_eq!(r.parse(&KEY, "a key", |_| None::<u8>), None);
        assert_eq!(r.list_or_none(&ROLES), Some(Vec::new()));
        r.require(&COOKIE, "a name");
        assert_eq!(
            r.errors.to_string(),
            "5 mistakes in the configuration:\
             \n  CHANNELS: \"70000\" is wrong; expected a whole number from 1 to 200\
             \n  IS_OPEN: \"perhaps\" is wrong; expected true or false\
             \n  WAIT: \"+1\" is wrong; expected a whole number from 1 to 9\
             \n  KEY: expected a key\
             \n  COOKIE: missing; expected a name"
        );
    }
}
