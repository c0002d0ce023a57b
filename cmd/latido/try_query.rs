//! The command `latido try`, and what it prints once the page is there.

use latido::app::{self, TryInfo, TryOptions};
use latido::config::TrySettings;
use latido_telemetry as telemetry;

use crate::cli::TryArgs;
use crate::commands::block_on;
use crate::output::print;
use crate::program_name::program_name;

/// Runs `latido try`.
pub(crate) fn run(settings: TrySettings, args: TryArgs) -> anyhow::Result<()> {
    telemetry::init_logs(settings.log_filter.as_deref());
    let TryArgs {
        file,
        keys,
        key,
        every,
    } = args;
    let options = TryOptions {
        file,
        keys,
        key,
        every,
        program: program_name(),
    };
    let seconds = every.as_secs_f64();
    block_on(app::try_query(settings, options, |info| {
        // The page stays even if its terminal is closed.
        let _ = print(&welcome(info, seconds));
    }))
}

fn welcome(info: &TryInfo, seconds: f64) -> String {
    let TryInfo {
        page_url: page,
        name,
        preview,
        next,
    } = info;
    let mut text = format!("\n  {name} is live: {page}\n");
    if !preview.tables.is_empty() {
        text.push_str("\n  It reads:\n");
        let names = preview
            .tables
            .iter()
            .map(|table| table.name.chars().count());
        let width = names.max().unwrap_or_default();
        for table in &preview.tables {
            text.push_str(&format!("    {:width$}  {}\n", table.name, table.columns));
        }
    }
    for note in &preview.notes {
        text.push_str(&format!("    {note}\n"));
    }
    if !preview.unseen.is_empty() {
        text.push_str("\n  It cannot see:\n");
        for unseen in &preview.unseen {
            text.push_str(&format!("    {unseen}\n"));
        }
    }
    let reads = match seconds == 1.0 {
        true => "every second".to_owned(),
        false => format!("every {seconds} s"),
    };
    text.push_str(&format!(
        "\n  The query runs {reads} while the page is open; it writes nothing. With `latido install` every change arrives at once.\n"
    ));
    for (index, command) in next.iter().enumerate() {
        let label = if index == 0 { "next:" } else { "" };
        text.push_str(&format!("  {label:5} {command}\n"));
    }
    text.push_str("\n  Ctrl-C ends it.\n\n");
    text
}
