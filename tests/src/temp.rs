//! Private folders.

use tempfile::TempDir;

/// A new private folder, removed with all in it when dropped.
///
/// Its path is short, because a unix socket's path may have no more than 107 bytes.
pub fn temp_dir() -> TempDir {
    tempfile::Builder::new().prefix("t").tempdir().expect("no temporary folder could be made")
}
