//! Command-line flags, generated from the table of variables.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::all_variables;
use crate::config::stream_folder::DEFAULT_FOLDER;
use latido_settings::{ConfigSources, ShownDefault, Variable};

/// The variable with the address of the database.
const DATABASE: &str = "DATABASE_URL";

/// The settings given as flags, by the name of their variable. They are not checked yet, because
/// clap would report only the first error.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// Merges two sets of flags. A flag in `self` takes precedence over one in `weaker`.
    #[must_use]
    pub fn or(mut self, weaker: Self) -> Self {
        for (name, value) in weaker.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    /// Returns whether neither these flags nor any other source of the process sets anything, and no
    /// folder with streams is there.
    pub fn are_nothing_at_all(&self) -> bool {
        let sources = self.clone().into_sources();
        sources.have_none_of(&all_variables()) && !Path::new(DEFAULT_FOLDER).is_dir()
    }

    /// Returns whether these flags and the other sources of the process set nothing but the
    /// database's address.
    pub fn are_only_a_database(&self) -> bool {
        let mut others = all_variables();
        others.retain(|variable| variable.name != DATABASE);
        self.clone().into_sources().have_none_of(&others)
    }

    /// Returns these flags with the other sources of the process: its environment, and `.env` in its
    /// working directory.
    pub fn into_sources(self) -> ConfigSources {
        ConfigSources::from_process(&all_variables(), self.0)
    }
}

/// Returns the flag that names a file with the value of a secret.
fn file_arg(variable: &Variable) -> Option<Arg> {
    let (name, flag) = (variable.file_name?, variable.file_flag()?);
    let arg = Arg::new(name).long(flag).value_name("PATH").help(format!(
        "File with the value of {} [env: {name}]",
        variable.name
    ));
    Some(arg.help_heading(variable.group))
}

/// Prints the names only, because values may be secrets.
impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        all_variables().iter().fold(command, |command, variable| {
            let default = match variable.default {
                ShownDefault::None => String::new(),
                default => format!(" [default: {default}]"),
            };
            let help = format!("{}{default} [env: {}]", variable.help, variable.name);
            // Hyphens are allowed in secret values, because a PEM key begins with hyphens.
            let arg = Arg::new(variable.name)
                .long(variable.flag())
                .value_name(variable.value)
                .help(help)
                .help_heading(variable.group)
                .allow_hyphen_values(variable.is_secret);
            command.arg(arg).args(file_arg(variable))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &'static str| {
            matches
                .get_one::<String>(name)
                .map(|value| (name, value.clone()))
        };
        let names = |variable: &Variable| [Some(variable.name), variable.file_name];
        Ok(Self(
            all_variables()
                .iter()
                .flat_map(names)
                .flatten()
                .filter_map(given)
                .collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?.or(std::mem::take(self));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses flags from command-line arguments.
    fn parse(arguments: &[&str]) -> Flags {
        let command = Flags::augment_args(Command::new("latido").no_binary_name(true));
        Flags::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    #[test]
    fn every_variable_is_a_flag_with_help() {
        let help = Flags::augment_args(Command::new("latido"))
            .render_long_help()
            .to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" "); // Help lines may be wrapped anywhere.
        for variable in all_variables() {
            assert!(
                help.contains(&format!("--{} ", variable.flag())),
                "{}",
                variable.name
            );
            assert!(
                help.contains(&format!("[env: {}]", variable.name)),
                "{}",
                variable.name
            );
        }
    }

    #[test]
    fn secret_may_be_given_as_a_file() {
        let flags = parse(&["--jwt-secret-file", "/run/secrets/jwt"]);
        assert_eq!(
            flags.0,
            [("JWT_SECRET_FILE", "/run/secrets/jwt".to_owned())].into()
        );
        let unknown = ["--port-file", "/run/secrets/port"];
        let command = Flags::augment_args(Command::new("latido").no_binary_name(true));
        assert!(command.try_get_matches_from(unknown).is_err());
    }

    #[test]
    fn inner_flag_takes_precedence() {
        let flags = parse(&["--port", "1"]).or(parse(&["--port", "2", "--host", "::"]));
        assert_eq!(
            flags.0,
            [("HOST", "::".to_owned()), ("PORT", "1".to_owned())].into()
        );
    }

    #[test]
    fn debug_output_contains_names_only() {
        assert_eq!(
            format!("{:?}", parse(&["--jwt-secret", "hunter2"])),
            r#"{"JWT_SECRET"}"#
        );
    }
}
