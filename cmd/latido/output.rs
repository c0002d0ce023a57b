//! What the commands print: their result on standard output, and everything else beside it.

use std::io::Write as _;

use anyhow::Context as _;

/// Prints the result of a command.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("could not write to standard output")
}

/// Prints the command to run next. It goes to standard error, so that the result can be piped.
pub(crate) fn print_next(command: &str) -> anyhow::Result<()> {
    print_note(&format!("next: {command}"))
}

/// Prints a line beside the result, to standard error.
pub(crate) fn print_note(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "{text}").context("could not write to standard error")
}
