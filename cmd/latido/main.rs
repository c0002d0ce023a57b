//! The `latido` command: reads arguments and settings, then calls the library.
//!
//! All arguments and settings are checked before anything runs. Exit codes: 0 for success, 1 if
//! something failed (or `doctor` found a failure), 2 for invalid arguments or settings.

mod cli;
mod commands;
#[cfg(feature = "demo")]
mod demo;
mod first_steps;
mod healthcheck;
mod output;
mod pinned_tls;
mod program_name;
mod token;
mod try_query;
mod watch;

use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;

use clap::Parser;
use latido::app::ReloadSource;
use latido::apps::APPS;
use latido::config::{ConfigErrors, Flags, Purpose, Settings, TrySettings, raise_open_file_limit};

use crate::cli::{Cli, CliCommand};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // An error here cannot be reported anywhere else.
            let _ = writeln!(std::io::stderr(), "latido: {}", error_text(&error));
            ExitCode::from(if error.is::<ConfigErrors>() { 2 } else { 1 })
        }
    }
}

/// Returns the error and its causes in one line. A cause whose text the error includes already is
/// left out.
fn error_text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(
    Cli {
        flags: outer,
        command,
    }: Cli,
) -> anyhow::Result<()> {
    // A container has no terminal. It is told what its configuration lacks.
    let asks_what_to_do = || {
        outer.are_nothing_at_all()
            || (std::io::stdout().is_terminal() && outer.are_only_a_database())
    };
    if command.is_none() && asks_what_to_do() {
        return first_steps::print_first_steps();
    }
    let settings = |inner: Flags, purpose| settings(inner.or(outer.clone()), purpose);
    match command.unwrap_or_default() {
        CliCommand::Serve { flags } => {
            let all = flags.clone().or(outer.clone());
            let source = ReloadSource::new(APPS, move || all.clone().into_sources());
            commands::serve(settings(flags, Purpose::Serve)?, source)
        }
        #[cfg(feature = "demo")]
        CliCommand::Demo { flags, no_fetch } => {
            demo::run(settings(flags, Purpose::Demo)?, no_fetch)
        }
        CliCommand::Try { flags, args } => {
            let sources = flags.or(outer.clone()).into_sources();
            try_query::run(TrySettings::read(&sources)?, args)
        }
        CliCommand::Install {
            flags,
            dry_run,
            migration,
            out,
        } => {
            let settings = settings(flags, Purpose::Install)?;
            match migration.zip(out) {
                Some((tool, folder)) => commands::write_migration(settings, tool, &folder),
                None => commands::install(settings, dry_run),
            }
        }
        CliCommand::Add { flags, file, print } => {
            commands::add(settings(flags, Purpose::Add)?, &file, print)
        }
        CliCommand::Uninstall { flags, dry_run } => {
            commands::uninstall(settings(flags, Purpose::Add)?, dry_run)
        }
        CliCommand::Grants { flags, role, apply } => {
            commands::grants(settings(flags, Purpose::Install)?, &role, apply)
        }
        CliCommand::Doctor {
            flags,
            lookups,
            server,
        } => commands::doctor(settings(flags, Purpose::Doctor)?, lookups, &server),
        CliCommand::Types { flags, out, .. } => {
            commands::types(settings(flags, Purpose::Install)?, out.as_deref())
        }
        CliCommand::Settings { markdown } => commands::settings(markdown),
        CliCommand::Token(args) => token::print(&settings(Flags::default(), Purpose::Token)?, args),
        CliCommand::Watch(args) => watch::run(args),
        CliCommand::Healthcheck { url } => {
            let settings = settings(Flags::default(), Purpose::Healthcheck)?;
            let certificates = settings
                .http
                .tls
                .as_ref()
                .map(|tls| tls.certificates.as_path());
            healthcheck::run(
                url.as_deref(),
                settings.listen.address.ip(),
                settings.listen.address.port(),
                certificates,
            )
        }
    }
}

fn settings(flags: Flags, purpose: Purpose) -> Result<Settings, ConfigErrors> {
    if matches!(purpose, Purpose::Serve | Purpose::Demo) {
        // Raised first, because the default number of connections depends on this limit.
        raise_open_file_limit();
    }
    Settings::read(&flags.into_sources(), purpose)
}
