//! A folder of one test's own.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a folder may be made; it goes with this value, with all that is in it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A name that nobody has. Nothing is there yet: some tests are about who makes it.
    pub(crate) fn named() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "latido-it-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self(env::temp_dir().join(name))
    }

    /// An empty folder.
    pub(crate) fn new() -> Self {
        let folder = Self::named();
        std::fs::create_dir(folder.path()).expect("a new folder");
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _absent = std::fs::remove_dir_all(&self.0);
    }
}
