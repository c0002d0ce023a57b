//! The name of this program, for the commands that it prints.

use latido::shell_word::shell_word;

/// Returns the program's name as it was invoked, quoted for a shell. The printed command line then
/// works in the same folder even if the program is not in the PATH.
pub(crate) fn program_name() -> String {
    let name = std::env::args().next();
    let name = name.filter(|name| !name.is_empty());
    shell_word(name.as_deref().unwrap_or("latido"))
}
