//! What the system says of this process. Where it says nothing (other than Linux), nothing is shown.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Beyond so many the entries of a folder are not counted one by one.
const COUNTED: u64 = 4096;

/// Resident memory, in bytes.
pub fn memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()?;
    Some(kib * 1024)
}

/// Processor time used so far, of all threads.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Open files, and how many there may be.
pub(super) fn open_files() -> (Option<u64>, Option<u64>) {
    let folder = "/proc/self/fd";
    // Since Linux 6.2 the folder's size is their number; before, a few are counted.
    let size = fs::metadata(folder)
        .ok()
        .map(|metadata| metadata.len())
        .filter(|size| *size > 0);
    let counted = || {
        fs::read_dir(folder)
            .ok()
            .map(|entries| entries.take(COUNTED as usize).count() as u64)
    };
    (
        size.or_else(|| counted().filter(|count| *count < COUNTED)),
        getrlimit(Resource::Nofile).current,
    )
}

/// The machine's load over the last minute.
pub(super) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1_000_000));
        assert!(cpu_time() > Duration::ZERO && load().is_some());
        assert!(open_files().0.is_some_and(|open| open >= 3));
    }
}
