//! The errors found in the configuration, reported all together.

use std::fmt;

/// One setting that is missing or invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// The name of the variable, or the position in a file.
    pub name: String,
    /// The problem and the expected value. It never contains a secret.
    pub problem: String,
}

/// All errors of a configuration, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigErrors(Vec<SettingError>);

impl ConfigErrors {
    /// Adds the error of one setting.
    pub fn add(&mut self, name: impl Into<String>, problem: impl Into<String>) {
        self.0.push(SettingError {
            name: name.into(),
            problem: problem.into(),
        });
    }

    /// Returns `true` if no error was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the errors in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &SettingError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 mistake in the configuration:")?,
            n => write!(f, "{n} mistakes in the configuration:")?,
        }
        for SettingError { name, problem } in &self.0 {
            // Some problems span several lines, for example those of a TOML file.
            write!(
                f,
                "\n  {name}: {}",
                problem.trim_end().replace('\n', "\n    ")
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
