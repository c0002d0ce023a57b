//! The command and response lines between a scenario and its clients.

use std::io::{self, BufRead as _, Write as _};
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::Context as _;
use serde::Serialize;

use super::LoadCommand;

/// Receives commands on a separate thread, because sockets must be read meanwhile.
pub(super) fn receive_commands() -> Receiver<LoadCommand> {
    let (sender, receiver) = sync_channel(4);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(order) = serde_json::from_str(&line) else {
                return;
            };
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Writes the response line to a command.
pub(super) fn respond(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(value)?)
        .and_then(|()| out.flush())
        .context("answering")
}
