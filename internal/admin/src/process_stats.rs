//! Figures that the operating system reports about this process. Other systems than Linux report
//! less, and the missing figures are omitted.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The maximum number of directory entries that are counted one by one.
const MAX_COUNTED_FILES: u64 = 4096;

/// Returns the resident memory in bytes. Returns `None` on systems without `/proc`.
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

/// Returns the processor time that all threads have used so far.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Returns the number of open files and the limit for it.
pub(super) fn open_files() -> (Option<u64>, Option<u64>) {
    let folder = "/proc/self/fd";
    // Since Linux 6.2 the directory's size is the number of entries; before, a few are counted.
    let size = fs::metadata(folder)
        .ok()
        .map(|metadata| metadata.len())
        .filter(|size| *size > 0);
    let counted = || {
        fs::read_dir(folder)
            .ok()
            .map(|entries| entries.take(MAX_COUNTED_FILES as usize).count() as u64)
    };
    (
        size.or_else(|| counted().filter(|count| *count < MAX_COUNTED_FILES)),
        getrlimit(Resource::Nofile).current,
    )
}

/// Returns the machine's load average over the last minute. Returns `None` on systems without
/// `/proc`.
pub fn load_average() -> Option<f64> {
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
    fn linux_reports_all_figures() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1_000_000));
        assert!(cpu_time() > Duration::ZERO && load_average().is_some());
        assert!(open_files().0.is_some_and(|open| open >= 3));
    }
}
