//! Where settings come from.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;

use crate::config::{Flags, Mistakes, VARIABLES, Variable};

/// The file that is read in the working folder.
const DOTENV: &str = ".env";

/// Everything that may hold a setting. A flag wins over the environment, and that over `.env`; an empty value counts as none, since
/// that is what composing tools make of a variable that isn't set.
#[derive(Default)]
pub struct Sources {
    flags: Flags,
    environment: HashMap<&'static str, String>,
    dotenv: HashMap<String, String>,
    /// What could not even be read.
    pub(super) mistakes: Mistakes,
}

impl Sources {
    /// The process's own: its environment, and `.env` in its working folder if there is one. Changes neither.
    pub fn of_process(flags: Flags) -> Self {
        let mut sources = Self {
            flags,
            ..Self::default()
        };
        sources.read_environment(|name| std::env::var_os(name));
        match std::fs::read_to_string(DOTENV) {
            Ok(text) => sources.read_dotenv(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => sources
                .mistakes
                .add(DOTENV, format!("could not be read: {error}")),
        }
        sources
    }

    /// These variables and nothing of the process's: for servers that live in somebody else's process.
    pub fn of(variables: &[(&str, &str)]) -> Self {
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
                Some(Err(_)) => self.mistakes.add(*name, "expected UTF-8 text"),
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
                // The error holds the line, and the line may hold a secret.
                Err(_) => {
                    let place = last.map_or_else(
                        || "the first line".to_owned(),
                        |name| format!("the line behind {name}"),
                    );
                    self.mistakes.add(DOTENV, format!("{place} is wrong; expected NAME=value, or NAME='value' with spaces or $"));
                    return;
                }
            }
        }
    }

    /// The value of a variable, from where it counts most.
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

    /// Sources that are no process's. For tests of whoever needs settings.
    #[cfg(test)]
    pub(crate) fn fake(flags: Flags, environment: &[(&str, &str)], dotenv: &str) -> Self {
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

/// Values may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("mistakes", &self.mistakes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flags;
    use crate::config::variable::{HOST, JWT_SECRET, PORT, TIMEZONE};

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let flags = flags::tests::parse(&["--port", "1"]);
        let environment = [("PORT", "2"), ("HOST", "::1"), ("TIMEZONE", "")];
        let sources = Sources::fake(
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
        assert!(sources.mistakes.is_empty());
    }

    #[test]
    fn a_bad_line_is_placed_but_not_shown() {
        let sources = Sources::fake(Flags::default(), &[], "PORT=3\nJWT_SECRET=my own secret\n");
        let text = format!("{} {sources:?}", sources.mistakes);
        assert!(
            text.contains("the line behind PORT") && !text.contains("own"),
            "{text}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_are_a_mistake() {
        use std::os::unix::ffi::OsStringExt;
        let mut sources = Sources::default();
        sources.read_environment(|name| (name == "HOST").then(|| OsString::from_vec(vec![0xff])));
        assert_eq!(
            sources.mistakes.to_string(),
            "1 mistake in the configuration:\n  HOST: expected UTF-8 text"
        );
    }
}
