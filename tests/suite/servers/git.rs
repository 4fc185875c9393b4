//! git as a client of web servers.

use std::path::Path;

use fcgi_tests::{PATIENCE, Process, Program};

/// Runs git in a directory, with no configuration but ours, and gives what it prints.
#[track_caller]
pub(super) fn run(home: &Path, directory: &Path, arguments: &[&str]) -> String {
    let mut command = Program::installed("git").expect("git is installed").command();
    command.current_dir(directory).env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CURL_VERBOSE", "1").env("GIT_TRACE_CURL_NO_DATA", "1");
    for name in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"] {
        command.env(name, "tests@localhost");
    }
    // Nothing is to go on when it has ended.
    command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "init.defaultBranch=main"]);
    let mut process = Process::start(command.args(arguments));
    let status = process.wait_exit_within(3 * PATIENCE);
    let printed = process.stdout().to_end() + &process.stderr().to_end();
    assert!(status.success(), "git {arguments:?}: {status}\n{printed}");
    printed
}
