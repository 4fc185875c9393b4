//! Programs and scripts that a test makes for itself.
//!
//! What is open for writing cannot be executed, and a child that another test forks meanwhile has the descriptor until
//! its exec. So a process of its own writes, of which nobody gets a copy.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Copies a program.
///
/// # Panics
/// When it cannot be copied.
#[track_caller]
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot copy {} to {}", from.display(), to.display());
}

/// Writes a file that can be executed, such as a script.
///
/// # Panics
/// When it cannot be written.
#[track_caller]
pub fn write_executable(path: &Path, text: &str) {
    let line = "cat >\"$1\" && chmod 755 \"$1\"";
    let mut writer = Command::new("/bin/sh");
    let mut writer = writer.args(["-c", line, "sh"]).arg(path).stdin(Stdio::piped()).spawn().expect("sh exists");
    writer.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("sh reads");
    assert!(writer.wait().is_ok_and(|status| status.success()), "cannot write {}", path.display());
}
