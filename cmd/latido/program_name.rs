//! The name of this program, for the commands that it prints.

/// Returns the program's name as it was invoked, quoted for a shell. The printed command line then
/// works in the same folder even if the program is not in the PATH.
pub(crate) fn program_name() -> String {
    let name = std::env::args()
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "latido".to_owned());
    let needs_no_quotes = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b));
    if needs_no_quotes {
        name
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}
