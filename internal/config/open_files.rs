//! How many connections the process may have at all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are not connections of clients: the database, logs, libraries, shards.
const OTHER_FILES: u64 = 128;
/// Where the system sets no limit.
const WITHOUT_LIMIT: u64 = 1_000_000;

/// Raises the soft limit of open files to the hard one, as a server should; what the system refuses stays as it was.
/// Returns the limit that holds now; None: there is none.
pub fn raise_open_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // Some systems refuse «no limit»; the soft limit is then what it was.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    getrlimit(Resource::Nofile).current
}

/// The connections that fit under the limit which holds now.
pub(super) fn connections() -> usize {
    connections_within(getrlimit(Resource::Nofile).current)
}

fn connections_within(open_files: Option<u64>) -> usize {
    let files = open_files.unwrap_or(WITHOUT_LIMIT).min(WITHOUT_LIMIT);
    // Where files are few, a quarter of them is spare enough.
    usize::try_from(files - OTHER_FILES.min(files / 4))
        .unwrap_or(usize::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_for_the_rest() {
        let connections =
            [Some(0), Some(64), Some(1_024), Some(20_000), None].map(connections_within);
        assert_eq!(connections, [1, 48, 896, 19_872, 999_872]);
    }
}
