//! A temporary folder that belongs to one test.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A path for a folder. Dropping the value deletes the folder and its content.
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    /// Reserves a unique name without creating the folder, for tests that check its creation.
    pub(crate) fn reserve() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "latido-it-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self(env::temp_dir().join(name))
    }

    /// Creates an empty folder.
    pub(crate) fn new() -> Self {
        let folder = Self::reserve();
        std::fs::create_dir(folder.path()).expect("a new folder");
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in the folder and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _absent = std::fs::remove_dir_all(&self.0);
    }
}
