//! The sources of settings: flags, environment variables and the `.env` file.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;

use crate::config::{ConfigErrors, Flags, VARIABLES, Variable};

/// The file that is read from the working directory.
const DOTENV: &str = ".env";

/// All sources of settings except `latido.toml`. A flag takes precedence over the environment, and
/// the environment over `.env`. An empty value counts as unset, because tools such as Docker
/// Compose pass an unset variable as an empty one.
#[derive(Default)]
pub struct ConfigSources {
    flags: Flags,
    environment: HashMap<&'static str, String>,
    dotenv: HashMap<String, String>,
    /// The errors found while reading the sources themselves.
    pub(super) errors: ConfigErrors,
}

impl ConfigSources {
    /// Reads the environment of the process, and `.env` in its working directory if it exists.
    /// Neither is changed.
    pub fn from_process(flags: Flags) -> Self {
        let mut sources = Self {
            flags,
            ..Self::default()
        };
        sources.read_environment(|name| std::env::var_os(name));
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
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        sources.read_environment(|name| variables.get(name).map(Into::into));
        sources
    }

    fn read_environment(&mut self, variable: impl Fn(&str) -> Option<OsString>) {
        for Variable { name, .. } in VARIABLES {
            match variable(name).map(OsString::into_string) {
                None => {}
                Some(Ok(value)) => drop(self.environment.insert(name, value)),
                Some(Err(_)) => self.errors.add(*name, "expected UTF-8 text"),
            }
        }
    }

    fn read_dotenv(&mut self, text: &str) {
        let mut last = None;
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

    /// Returns the value of a variable from the source with the highest precedence.
    pub(super) fn get(&self, variable: &Variable) -> Option<&str> {
        let name = variable.name;
        let environment = || self.environment.get(name).map(String::as_str);
        let dotenv = || self.dotenv.get(name).map(String::as_str);
        let is_set = |value: &&str| !value.trim().is_empty();
        self.flags
            .get(name)
            .filter(is_set)
            .or_else(|| environment().filter(is_set))
            .or_else(|| dotenv().filter(is_set))
    }

    /// Creates sources independent of the process, for tests.
    #[cfg(test)]
    pub(crate) fn for_test(flags: Flags, environment: &[(&str, &str)], dotenv: &str) -> Self {
        let mut sources = Self {
            flags,
            ..Self::default()
        };
        let environment: HashMap<_, _> = environment.iter().copied().collect();
        sources.read_environment(|name| environment.get(name).map(Into::into));
        sources.read_dotenv(dotenv);
        sources
    }
}

/// Prints no values, because they may be secrets.
impl fmt::Debug for ConfigSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("mistakes", &self.errors)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flags;
    use crate::config::variables::{HOST, JWT_SECRET, PORT, TIMEZONE};

    #[test]
    fn flag_precedes_environment_and_environment_precedes_file() {
        let flags = flags::tests::parse(&["--port", "1"]);
        let environment = [("PORT", "2"), ("HOST", "::1"), ("TIMEZONE", "")];
        let sources = ConfigSources::for_test(
            flags,
            &environment,
            "PORT=3\nHOST=127.0.0.1\nTIMEZONE=Asia/Tokyo\n# comment\nJWT_SECRET='a $b'\n",
        );
        let values =
            [PORT, HOST, TIMEZONE, JWT_SECRET].map(|v| sources.get(&v).map(ToOwned::to_owned));
        assert_eq!(
            values,
            [
                Some("1".into()),
                Some("::1".into()),
                Some("Asia/Tokyo".into()),
                Some("a $b".into())
            ]
        );
        assert!(sources.errors.is_empty());
    }

    #[test]
    fn invalid_line_is_located_but_not_printed() {
        let sources =
            ConfigSources::for_test(Flags::default(), &[], "PORT=3\nJWT_SECRET=my own secret\n");
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
        sources.read_environment(|name| (name == "HOST").then(|| OsString::from_vec(vec![0xff])));
        assert_eq!(
            sources.errors.to_string(),
            "1 mistake in the configuration:\n  HOST: expected UTF-8 text"
        );
    }
}
