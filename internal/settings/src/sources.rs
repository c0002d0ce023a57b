//! The sources of settings: flags, environment variables, the `.env` file, and files with secrets
//! that one of these names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use crate::regular_file::read_regular_text;
use crate::secret_file::read_secret;
use crate::{ConfigErrors, Variable};

/// The file that is read from the working directory.
const DOTENV: &str = ".env";
/// The maximum size of that file, in bytes.
const MAX_DOTENV_BYTES: u64 = 1 << 20;

/// All sources of settings except `latido.toml`. A flag takes precedence over the environment, and
/// the environment over `.env`. An empty value counts as unset, because tools such as Docker
/// Compose pass an unset variable as an empty one.
#[derive(Default)]
pub struct ConfigSources {
    flags: BTreeMap<&'static str, String>,
    environment: HashMap<String, String>,
    dotenv: HashMap<String, String>,
    /// The variables with a file whose value could not be taken from it.
    failed_files: BTreeSet<&'static str>,
    /// The errors found while reading the sources themselves.
    errors: ConfigErrors,
}

impl ConfigSources {
    /// Reads the environment of the process, as far as `variables` name it, and `.env` in its
    /// working directory if it exists. Neither is changed. `flags` maps names of variables to
    /// values. Then reads the files that hold secrets.
    pub fn from_process(variables: &[Variable], flags: BTreeMap<&'static str, String>) -> Self {
        let mut sources = Self {
            flags,
            ..Self::default()
        };
        for variable in variables {
            for name in [Some(variable.name), variable.file_name]
                .into_iter()
                .flatten()
            {
                sources.add_environment(name, std::env::var_os(name));
            }
        }
        match read_regular_text(Path::new(DOTENV), MAX_DOTENV_BYTES) {
            Ok(text) => sources.read_dotenv(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => sources
                .errors
                .add(DOTENV, format!("could not be read: {error}")),
        }
        sources.read_files(variables);
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

    /// Returns whether none of these variables has a value anywhere.
    pub fn have_none_of(&self, variables: &[Variable]) -> bool {
        self.errors.is_empty()
            && variables
                .iter()
                .all(|variable| self.get(variable).is_none())
    }

    /// Returns the names of the variables that have another value in `other`, in their order.
    pub fn changed(&self, other: &Self, variables: &[Variable]) -> Vec<&'static str> {
        let has_changed = |variable: &&Variable| self.get(variable) != other.get(variable);
        let changed = variables.iter().filter(has_changed);
        changed.map(|variable| variable.name).collect()
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

    /// Replaces the names of files with the secrets in them. A file counts with the precedence of the
    /// source that names it. Naming one beside a value in the same source is an error.
    fn read_files(&mut self, variables: &[Variable]) {
        let Self {
            flags,
            environment,
            dotenv,
            failed_files,
            errors,
        } = self;
        for variable in variables {
            let (name, Some(file_name)) = (variable.name, variable.file_name) else {
                continue;
            };
            let sources: [&mut dyn Source; 3] = [&mut *flags, &mut *environment, &mut *dotenv];
            for source in sources {
                let Some(path) = source.value(file_name) else {
                    // A stronger source sets this variable, so files of weaker ones are not read.
                    if source.value(name).is_some() {
                        break;
                    }
                    continue;
                };
                let secret = if source.value(name).is_some() {
                    Err(format!("set beside {name}; expected one of the two"))
                } else {
                    read_secret(path.trim().as_ref()).map_err(|error| {
                        format!("{error}; expected the path of a file with {name}")
                    })
                };
                match secret {
                    Ok(secret) => source.set(name, secret),
                    Err(problem) => {
                        errors.add(file_name, problem);
                        failed_files.insert(name);
                    }
                }
                break;
            }
        }
    }

    /// Returns whether the variable has a file whose value could not be taken from it.
    pub(crate) fn has_failed_file(&self, variable: &Variable) -> bool {
        self.failed_files.contains(variable.name)
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
        let sources: [&dyn Source; 3] = [&self.flags, &self.environment, &self.dotenv];
        sources
            .into_iter()
            .find_map(|source| source.value(variable.name))
    }
}

/// One of the sources.
trait Source {
    /// Returns the value of a variable. An empty one counts as unset.
    fn value(&self, name: &str) -> Option<&str>;

    /// Sets a variable.
    fn set(&mut self, name: &'static str, value: String);
}

impl Source for BTreeMap<&'static str, String> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str).filter(is_set)
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.insert(name, value);
    }
}

impl Source for HashMap<String, String> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str).filter(is_set)
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.insert(name.to_owned(), value);
    }
}

fn is_set(value: &&str) -> bool {
    !value.trim().is_empty()
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
#[path = "sources_tests.rs"]
mod tests;
