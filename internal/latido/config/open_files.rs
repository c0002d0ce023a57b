//! The open-file limit, from which the default connection limit is derived.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of descriptors reserved for other uses: the database, logs, libraries, shards.
const OTHER_FILES: u64 = 128;
/// The limit to assume, in descriptors, if the system sets none.
const WITHOUT_LIMIT: u64 = 1_000_000;

/// Raises the soft open-file limit to the hard limit, as a server should. If the system refuses,
/// the old limit stays. Returns the limit now in force, or `None` if there is none.
pub fn raise_open_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // Some systems refuse «no limit». The soft limit then stays unchanged.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    getrlimit(Resource::Nofile).current
}

/// Returns the number of connections that fit under the current limit, at least 1.
pub(super) fn connections() -> usize {
    connections_within(getrlimit(Resource::Nofile).current)
}

fn connections_within(open_files: Option<u64>) -> usize {
    let files = open_files.unwrap_or(WITHOUT_LIMIT).min(WITHOUT_LIMIT);
    // With a low limit, a quarter of the descriptors is enough reserve.
    usize::try_from(files - OTHER_FILES.min(files / 4))
        .unwrap_or(usize::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_reserved_for_other_uses() {
        let connections =
            [Some(0), Some(64), Some(1_024), Some(20_000), None].map(connections_within);
        assert_eq!(connections, [1, 48, 896, 19_872, 999_872]);
    }
}
