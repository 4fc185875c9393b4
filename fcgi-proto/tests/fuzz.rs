//! Runs what the fuzz targets check over the corpus they have gathered; fuzz/run lets them go on.

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub)] // they are a library's
mod bodies;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Feeds each file of a target's corpus to its body, and names those that fail.
#[track_caller]
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    let mut failed = Vec::new();
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("the folder is readable").path();
        let data = fs::read(&path).expect("the file is readable");
        files += 1;
        if catch_unwind(|| body(&data)).is_err() {
            failed.push(path);
        }
    }
    assert!(files > 10, "only {files} files in {}", folder.display());
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn decoder() {
    replay("decoder", bodies::decoder);
}

#[test]
fn pairs() {
    replay("pairs", bodies::pairs);
}

#[test]
fn response() {
    replay("response", bodies::response);
}

#[test]
fn session() {
    replay("session", bodies::session);
}
