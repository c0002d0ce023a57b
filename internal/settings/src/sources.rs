//! The sources of settings: flags, environment variables and the `.env` file.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;

use crate::{ConfigErrors, Variable};

/// The file that is read from the working directory.
const DOTENV: &str = ".env";

/// All sources of settings except `latido.toml`. A flag takes precedence over the environment, and
/// the environment over `.env`. An empty value counts as unset, because tools such as Docker
/// Compose pass an unset variable as an empty one.
#[derive(Default)]
pub struct ConfigSources {
    flags: BTreeMap<&'static str, String>,
    environment: HashMap<String, String>,
    dotenv: HashMap<String, String>,
    /// The errors found while reading the sources themselves.
    errors: ConfigErrors,
}

impl ConfigSources {
    /// Reads the environment of the process, as far as `variables` name it, and `.env` in its
    /// working directory if it exists. Neither is changed. `flags` maps names of variables to
    /// values.
    pub fn from_process<'a>(
        variables: impl IntoIterator<Item = &'a Variable>,
        flags: BTreeMap<&'static str, String>,
    ) -> Self {
        let mut sources = Self {
            flags,
            ..Self::default()
        };
        for variable in variables {
            sources.add_environment(variable.name, std::env::var_os(variable.name));
        }
        match std::fs::read_to_string(DOTENV) {
            Ok(text) => sources.read_dotenv(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => sources
                .errors
                .add(DOTENV, format!("could not be read: {error}")),
        }
        sources
    }

    /// Creates sources from these variables only. It is meant for servers that run inside another
    /// process, such as tests.
    pub fn from_variables(variables: &[(&str, &str)]) -> Self {
        let mut sources = Self::default();
        for (name, value) in variables {
            sources.add_environment(name, Some(value.into()));
        }
        sources
    }

    /// Returns the errors found while reading the sources themselves.
    pub fn errors(&self) -> &ConfigErrors {
        &self.errors
    }

    fn add_environment(&mut self, name: &str, value: Option<OsString>) {
        match value.map(OsString::into_string) {
            None => {}
            Some(Ok(value)) => drop(self.environment.insert(name.to_owned(), value)),
            Some(Err(_)) => self.errors.add(name, "expected UTF-8 text"),
        }
    }

    fn read_dotenv(&mut self, text: &str) {
        let mut last = None;
        // Editors on Windows begin a file with a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        for line in dotenvy::from_read_iter(text.as_bytes()) {
            match line {
                Ok((name, value)) => {
                    last = Some(name.clone());
                    self.dotenv.insert(name, value);
                }
                // The error contains the line, and the line may contain a secret.
                Err(_) => {
                    let position = last.map_or_else(
                        || "the first line".to_owned(),
                        |name| format!("the line behind {name}"),
                    );
                    self.errors.add(DOTENV, format!("{position} is wrong; expected NAME=value, or NAME='value' with spaces or $"));
                    return;
                }
            }
        }
    }

    /// Returns whether some source sets a variable, but none to a value.
    pub(crate) fn is_empty(&self, variable: &Variable) -> bool {
        let name = variable.name;
        let is_set = self.flags.contains_key(name)
            || self.environment.contains_key(name)
            || self.dotenv.contains_key(name);
        is_set && self.get(variable).is_none()
    }

    /// Returns the value of a variable from the source with the highest precedence.
    pub(crate) fn get(&self, variable: &Variable) -> Option<&str> {
        let name = variable.name;
        let environment = || self.environment.get(name).map(String::as_str);
        let dotenv = || self.dotenv.get(name).map(String::as_str);
        let is_set = |value: &&str| !value.trim().is_empty();
        self.flags
            .get(name)
            .map(String::as_str)
            .filter(is_set)
            .or_else(|| environment().filter(is_set))
            .or_else(|| dotenv().filter(is_set))
    }
}

/// Prints no values, because they may be secrets.
impl fmt::Debug for ConfigSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSources")
            .field("errors", &self.errors)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::variables! {
        const VARIABLES;
        "Tests" {
            plain PORT "PORT" = none, "A variable that every source sets";
            plain HOST "ADDRESS" = none, "A variable of the environment";
            plain TIMEZONE "ZONE" = none, "A variable that is empty in the environment";
            secret JWT_SECRET "TEXT" = none, "A variable of the file alone";
        }
    }

    #[test]
    fn flag_precedes_environment_and_environment_precedes_file() {
        let mut sources =
            ConfigSources::from_variables(&[("PORT", "2"), ("HOST", "::1"), ("TIMEZONE", "")]);
        sources.flags.insert("PORT", "1".to_owned());
        sources.read_dotenv(
            "\u{feff}PORT=3\nHOST=127.0.0.1\nTIMEZONE=Asia/Tokyo\n# comment\nJWT_SECRET='a $b'\n",
        );
        let values =
            [PORT, HOST, TIMEZONE, JWT_SECRET].map(|v| sources.get(&v).unwrap().to_owned());
        assert_eq!(values, ["1", "::1", "Asia/Tokyo", "a $b"]);
        assert!(sources.errors.is_empty() && VARIABLES.len() == 4);
    }

    #[test]
    fn invalid_line_is_located_but_not_printed() {
        let mut sources = ConfigSources::default();
        sources.read_dotenv("PORT=3\nJWT_SECRET=my own secret\n");
        let text = format!("{} {sources:?}", sources.errors);
        assert!(
            text.contains("the line behind PORT") && !text.contains("own"),
            "{text}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn value_that_is_not_utf8_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let mut sources = ConfigSources::default();
        sources.add_environment("HOST", Some(OsString::from_vec(vec![0xff])));
        assert_eq!(
            sources.errors.to_string(),
            "1 mistake in the configuration:\n  HOST: expected UTF-8 text"
        );
    }
}
