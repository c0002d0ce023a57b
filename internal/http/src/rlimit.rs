//! The open-file limit, from which the default connection limit is derived.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of descriptors reserved for other uses: the database, logs, libraries, shards.
const RESERVED_DESCRIPTORS: u64 = 128;
/// The limit to assume, in descriptors, if the system sets none.
const UNLIMITED_FALLBACK: u64 = 1_000_000;

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
pub(crate) fn max_connections() -> usize {
    max_connections_for(getrlimit(Resource::Nofile).current)
}

fn max_connections_for(open_files: Option<u64>) -> usize {
    let files = open_files
        .unwrap_or(UNLIMITED_FALLBACK)
        .min(UNLIMITED_FALLBACK);
    // With a low limit, a quarter of the descriptors is enough reserve.
    usize::try_from(files - RESERVED_DESCRIPTORS.min(files / 4))
        .unwrap_or(usize::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_reserved_for_other_uses() {
        let limits = [Some(0), Some(64), Some(1_024), Some(20_000), None].map(max_connections_for);
        assert_eq!(limits, [1, 48, 896, 19_872, 999_872]);
    }
}
