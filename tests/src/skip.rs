//! Tests that do not run here, and say so.
//!
//! libtest knows no "skipped" at run time: such a test counts as passed there. Each therefore appends a line
//! to the file named by `FCGI_TEST_SKIPS`, and `tests/run` takes it off the passed ones:
//!
//! ```text
//! skip       TAB  servers::nginx::get  TAB  nginx is not installed
//! elsewhere  TAB  launcher::needs_root TAB  counted in another run
//! ```

use std::env;
use std::fmt::Arguments;
use std::fs::OpenOptions;
use std::io::Write;

/// Ends the calling test as skipped, with a reason in `format!` style; with `CI=true` it fails.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::record_skip(format_args!($($reason)*));
        return;
    }};
}

/// Ends the calling test unless we are root.
///
/// It counts as skipped, or as nothing at all when `tests/run` has run it as root before.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::is_root() {
            if $crate::is_second_run() {
                $crate::record_elsewhere();
                return;
            }
            $crate::skip!("it needs root");
        }
    };
}

/// Ends the calling test when `tests/run` has run it before, as root: who we are makes no difference to it,
/// or it needs what `nobody` has not (cargo and its home).
#[macro_export]
macro_rules! once_is_enough {
    () => {
        if $crate::is_second_run() {
            $crate::record_elsewhere();
            return;
        }
    };
}

/// Ends the calling test unless the programs under test are the static ones: `tests/run` has a run for those.
#[macro_export]
macro_rules! static_only {
    () => {
        if std::env::var_os("FCGI_TEST_STATIC").is_none() {
            $crate::record_elsewhere();
            return;
        }
    };
}

/// Ends the calling test if the programs under test are the static ones, of which it can replace nothing.
#[macro_export]
macro_rules! dynamic_only {
    () => {
        if std::env::var_os("FCGI_TEST_STATIC").is_some() {
            $crate::record_elsewhere();
            return;
        }
    };
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether `tests/run` has run the suite as root before.
pub fn is_second_run() -> bool {
    env::var_os("FCGI_TEST_SECOND_RUN").is_some()
}

/// Notes that the calling test is skipped. Use [`skip!`].
///
/// # Panics
/// With `CI=true`: there, everything has to be there.
pub fn record_skip(reason: Arguments<'_>) {
    assert!(env::var("CI").as_deref() != Ok("true"), "skipped, though CI=true: {reason}");
    record("skip", reason);
}

/// Notes that the calling test counts in another run. Use [`needs_root!`], [`once_is_enough!`] or [`static_only!`].
pub fn record_elsewhere() {
    record("elsewhere", format_args!("counted in another run"));
}

fn record(kind: &str, reason: Arguments<'_>) {
    // libtest names the thread after the test.
    let thread = std::thread::current();
    let line = format!("{kind}\t{}\t{reason}\n", thread.name().unwrap_or("?"));
    eprint!("{line}");
    if let Some(path) = env::var_os("FCGI_TEST_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        // One write in append mode: lines of parallel tests do not mix.
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("FCGI_TEST_SKIPS cannot be written");
    }
}
