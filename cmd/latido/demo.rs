//! The command `latido demo`, and what it prints once the demo runs.

use std::path::PathBuf;

use latido::app::{self, DemoInfo};
use latido::config::Settings;
use latido_embedded_postgres::{self as embedded, StorageMode, default_state_dir};

use crate::commands::{block_on, start_logs};
use crate::output::print;
use crate::program_name::program_name;

/// Runs `latido demo` with a private PostgreSQL, unless `DATABASE_URL` is set.
pub(crate) fn run(settings: Settings, no_fetch: bool) -> anyhow::Result<()> {
    start_logs(&settings);
    let mut private = embedded::EmbeddedSettings::new(StorageMode::Persistent {
        dir: default_state_dir(),
    });
    private.allow_download = !no_fetch;
    private.bin_dir = std::env::var_os("PG_BIN")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    block_on(app::demo(settings, private, |info| {
        // The demo keeps running even if its terminal is closed.
        let _ = print_welcome(info);
    }))
}

fn print_welcome(info: &DemoInfo) -> anyhow::Result<()> {
    let DemoInfo {
        page_url: page,
        socket_url: socket,
        token,
        channel,
        database_url: database,
        server_description: found,
    } = info;
    let token = token.expose();
    let program = program_name();
    let mut text = format!(
        "\n  Latido is running: {page}\n\n  In a terminal:\n    LATIDO_TOKEN={token} {program} watch {channel} --url {socket}\n\n  \
         The token, good for an hour: {token}\n"
    );
    if let (Some(database), Some(found)) = (database, found) {
        text.push_str(&format!("\n  {found}\n    psql '{database}'\n"));
    } else {
        text.push_str("\n  The data is in the database of DATABASE_URL.\n");
    }
    text.push_str("\n  Ctrl-C stops everything; the data stays.\n\n");
    print(&text)
}
