//! A host made of files in a temporary directory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::HostRoot;

/// Removed when dropped.
pub(crate) struct Fixture(PathBuf);

impl Fixture {
    /// A host with these files: absolute path and content.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "ultragate-host-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Relaxed)
        );
        let fixture = Self(std::env::temp_dir().join(unique));
        for (path, content) in files {
            fixture.write(path, content);
        }
        fixture
    }

    pub(crate) fn root(&self) -> HostRoot {
        HostRoot::at(&self.0)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.prepared(path);
        std::fs::write(path, content).expect("a fixture's file");
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.prepared(path);
        std::os::unix::fs::symlink(target, path).expect("a fixture's link");
    }

    fn prepared(&self, path: &str) -> PathBuf {
        let path = self.root().path(path);
        std::fs::create_dir_all(path.parent().expect("a directory"))
            .expect("a fixture's directory");
        path
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
