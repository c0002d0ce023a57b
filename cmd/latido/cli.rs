//! The command-line arguments, and the help texts generated from them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use latido::app::{SERVING_ROLE, ServerAddress};
use latido::config::{Flags, duration};
use latido::migration::MigrationTool;
use serde_json::Value;

/// The text below the help of every command that takes settings.
const SETTINGS_HELP: &str = "Every flag is a variable as well. A flag wins over the environment, the environment over a .env file in the \
                          working folder, and that over latido.toml (LATIDO_CONFIG). Secrets are better not given as flags, \
                          which show in the list of processes. All mistakes are reported together.\n\n\
                          Exit codes: 0 success; 1 something failed, or doctor found a failure; 2 mistakes in the configuration.";

/// The version and the commit, such as «0.1.0 (0123456789ab)». The build script finds the commit.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("LATIDO_COMMIT"), ")");

/// Live statistics from Postgres: every browser that watches a row sees it change within milliseconds of the commit.
#[derive(Debug, Parser)]
#[command(name = "latido", version = VERSION, after_help = SETTINGS_HELP, max_term_width = 110, subcommand_help_heading = "Commands")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) flags: Flags,
    #[command(subcommand)]
    pub(crate) command: Option<CliCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Serve WebSockets, the hook, REST and metrics (the default if anything is configured)
    #[command(after_help = SETTINGS_HELP)]
    Serve {
        #[command(flatten)]
        flags: Flags,
    },
    /// Run a demonstration: a private Postgres with demo data, a writer, a live page on 127.0.0.1. If
    /// DATABASE_URL is set, the data goes into that database instead, which must be empty
    #[cfg(feature = "demo")]
    #[command(after_help = SETTINGS_HELP)]
    Demo {
        #[command(flatten)]
        flags: Flags,
        /// Do not fetch Postgres' binaries; use what is on this machine or fail
        #[arg(long)]
        no_fetch: bool,
    },
    /// Show one query live on a page of this machine: it only reads, and nothing needs to be installed
    #[command(after_help = SETTINGS_HELP)]
    Try {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        args: TryArgs,
    },
    /// Create the triggers of the streams in DATABASE_URL, in one transaction; running it again changes nothing
    #[command(after_help = SETTINGS_HELP)]
    Install {
        #[command(flatten)]
        flags: Flags,
        /// Print the SQL and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Write the SQL as a migration of this tool, with the way back, and change nothing
        #[arg(
            long,
            value_name = "TOOL",
            requires = "out",
            conflicts_with = "dry_run"
        )]
        migration: Option<MigrationTool>,
        /// The folder of the migrations
        #[arg(long, value_name = "FOLDER", requires = "migration")]
        out: Option<PathBuf>,
    },
    /// Add the full entry of an SQL file to latido.toml, with its keys and tables; an existing entry stays
    #[command(after_help = SETTINGS_HELP)]
    Add {
        #[command(flatten)]
        flags: Flags,
        /// The SQL file; the stream has its name
        file: PathBuf,
        /// Print the entry and change nothing
        #[arg(long)]
        print: bool,
    },
    /// Remove what install created
    #[command(after_help = SETTINGS_HELP)]
    Uninstall {
        #[command(flatten)]
        flags: Flags,
        /// Print the SQL and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the GRANTs that the role of `latido serve` needs, for the streams and the apps; run after install
    #[command(after_help = SETTINGS_HELP)]
    Grants {
        #[command(flatten)]
        flags: Flags,
        /// The role that serves
        #[arg(long, default_value = SERVING_ROLE)]
        role: String,
        /// Run them as well, in one transaction
        #[arg(long)]
        apply: bool,
    },
    /// Connect and report, line by line, whether everything is as it should be; 1 if something would fail
    #[command(after_help = SETTINGS_HELP)]
    Doctor {
        #[command(flatten)]
        flags: Flags,
        /// Also change copies of the streams' tables, to find keys that a change concerns and no entry finds
        #[arg(long)]
        lookups: bool,
        /// Also ask this running server for changes that no notification announced; may be repeated
        #[arg(long, value_name = "URL", value_parser = ServerAddress::parse)]
        server: Vec<ServerAddress>,
    },
    /// Print the types of the streams' frames for a program that watches them
    #[command(after_help = SETTINGS_HELP)]
    Types {
        #[command(flatten)]
        flags: Flags,
        /// As a module of TypeScript
        #[arg(long, required = true)]
        typescript: bool,
        /// Write them to this file instead of printing them
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the table of all settings
    Settings {
        /// Print it as the page docs/configuration.md
        #[arg(long)]
        markdown: bool,
    },
    /// Print a token signed with JWT_SECRET, to try things out
    Token(TokenArgs),
    /// Follow a channel in the terminal; reconnects by itself
    Watch(WatchArgs),
    /// Check that the server is alive (for Docker's HEALTHCHECK)
    Healthcheck {
        /// Address to request [default: /health on HOST and PORT]
        #[arg(long)]
        url: Option<String>,
    },
}

impl Default for CliCommand {
    fn default() -> Self {
        Self::Serve {
            flags: Flags::default(),
        }
    }
}

/// The arguments of `latido try`.
#[derive(Debug, Args)]
pub(crate) struct TryArgs {
    /// The file with the query, such as ventas.sql
    pub(crate) file: PathBuf,
    /// The names of the key's parts, separated by commas [default: those of the first columns]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) keys: Option<Vec<String>>,
    /// The key to show first, as a channel's name writes it: 7, 7/3 or 7?desde=2026-11-01
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// The time between two reads while the page is open: 1s, 1m
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub(crate) every: Duration,
}

/// The arguments of `latido token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The user's id (claim id)
    #[arg(long)]
    pub(crate) user: String,
    /// A business that the user may watch; may be repeated (claim negocio_id, or negocios)
    #[arg(long)]
    pub(crate) negocio: Vec<String>,
    /// The user's role (claim rol); one of ADMIN_ROLES may watch everything
    #[arg(long)]
    pub(crate) rol: Option<String>,
    /// Another claim, such as the keys of a stream: tienda_id=7. VALUE is JSON, or else a text; may be
    /// repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_claim)]
    pub(crate) claim: Vec<(String, Value)>,
    /// Lifetime of the token: 90s, 15m, 1h, 7d
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    pub(crate) expires_in: Duration,
}

/// The arguments of `latido watch`.
#[derive(Args)]
pub(crate) struct WatchArgs {
    /// The channel, such as estadisticas:negocio_123
    pub(crate) channel: String,
    /// The server's WebSocket
    #[arg(long, default_value = "ws://127.0.0.1:8080/ws")]
    pub(crate) url: String,
    /// The token; better not given as a flag, which shows in the list of processes [env: LATIDO_TOKEN]
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// Print every frame as it arrives instead of columns
    #[arg(long)]
    pub(crate) json: bool,
}

/// Written by hand to leave out the token, which is a secret.
impl std::fmt::Debug for WatchArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchArgs")
            .field("channel", &self.channel)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The error for an argument that is no duration.
#[derive(Debug, thiserror::Error)]
#[error("expected a number and a unit, such as 90s, 15m, 1h or 7d")]
struct InvalidDuration;

fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    duration(text).ok_or(InvalidDuration)
}

/// The error for a claim without a name.
#[derive(Debug, thiserror::Error)]
#[error("expected NAME=VALUE, such as tienda_id=7")]
struct InvalidClaim;

/// Splits `NAME=VALUE`. A value that is no JSON is a text.
fn parse_claim(text: &str) -> Result<(String, Value), InvalidClaim> {
    let (name, value) = text.split_once('=').ok_or(InvalidClaim)?;
    if name.is_empty() {
        return Err(InvalidClaim);
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn values_of_claims_are_json_or_text() {
        use serde_json::json;
        for (text, name, value) in [
            ("tienda_id=7", "tienda_id", json!(7)),
            ("tienda_id=\"7\"", "tienda_id", json!("7")),
            ("caja=c/1=a", "caja", json!("c/1=a")),
            ("caja=", "caja", json!("")),
            ("tiendas=[\"a\",7]", "tiendas", json!(["a", 7])),
            (
                "app_metadata={\"org\":\"o1\"}",
                "app_metadata",
                json!({"org": "o1"}),
            ),
            ("a={b", "a", json!("{b")),
        ] {
            assert_eq!(
                parse_claim(text).unwrap(),
                (name.to_owned(), value),
                "{text}"
            );
        }
        for text in ["", "a", "=7"] {
            let error = parse_claim(text).unwrap_err().to_string();
            assert!(error.contains("NAME=VALUE"), "{text}: {error}");
        }
    }

    #[test]
    fn commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_command() {
        let cli = Cli::try_parse_from(["latido", "--port", "9000"]).unwrap();
        assert!(matches!(
            cli.command.unwrap_or_default(),
            CliCommand::Serve { .. }
        ));
        assert_ne!(cli.flags, Flags::default());
    }

    #[test]
    fn token_lifetime_defaults_to_one_hour() {
        let parse = |arguments: &[&str]| match Cli::try_parse_from(arguments).map(|cli| cli.command)
        {
            Ok(Some(CliCommand::Token(args))) => {
                Some((args.negocio.len(), args.expires_in.as_secs()))
            }
            _ => None,
        };
        assert_eq!(
            parse(&[
                "latido",
                "token",
                "--user",
                "a",
                "--negocio",
                "1",
                "--negocio",
                "2"
            ]),
            Some((2, 3_600))
        );
        assert_eq!(
            parse(&["latido", "token", "--user", "a", "--expires-in", "7d"]),
            Some((0, 604_800))
        );
        assert_eq!(
            parse(&["latido", "token", "--user", "a", "--expires-in", "7"]),
            None
        );
        assert_eq!(parse(&["latido", "token"]), None);
    }

    #[test]
    fn debug_shows_no_token() {
        let cli = Cli::try_parse_from(["latido", "watch", "a:b", "--token", "s3cret"]).unwrap();
        assert!(!format!("{cli:?}").contains("s3cret"));
    }
}
