//! The output of the command.

use std::io::{ErrorKind, Write as _};

/// Standard output can no longer be written.
#[derive(Debug)]
pub(super) enum OutputClosed {
    /// The reading end of the pipe was closed, for example by `head`.
    BrokenPipe,
    WriteFailed(std::io::Error),
}

/// Prints one line to standard output.
pub(super) fn print_line(line: &str) -> Result<(), OutputClosed> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => OutputClosed::BrokenPipe,
            _ => OutputClosed::WriteFailed(error),
        })
}

/// Prints a message to standard error.
pub(super) fn print_notice(text: &str) {
    // Ignored: standard error may be closed.
    let _ = writeln!(std::io::stderr(), "latido: {text}");
}
