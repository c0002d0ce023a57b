//! What is wrong with the configuration, all of it.

use std::fmt;

/// One setting that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable, or the place in a file.
    pub name: String,
    /// What is wrong and what was expected; never the value of a secret.
    pub problem: String,
}

/// All mistakes of a configuration, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Adds one.
    pub fn add(&mut self, name: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Mistake {
            name: name.into(),
            problem: problem.into(),
        });
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 mistake in the configuration:")?,
            n => write!(f, "{n} mistakes in the configuration:")?,
        }
        for Mistake { name, problem } in &self.0 {
            // Some problems (of a TOML file) have several lines.
            write!(
                f,
                "\n  {name}: {}",
                problem.trim_end().replace('\n', "\n    ")
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
