//! The black-box tests: one executable, run several times with other programs, users and filters.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::context::{Context, find, is_root};
use crate::libtest;
use crate::processes;
use crate::step::{Failure, Order, Outcome};

/// How long a run may take, in seconds: every wait in a test has its own deadline, this one is for a test that spins.
const TIME: &str = "1200";

/// One run of the black-box tests.
pub(crate) struct Suite<'a> {
    /// Names of tests, and `--skip`.
    pub(crate) arguments: &'a [&'a str],
    /// The programs under test.
    pub(crate) programs: PathBuf,
    /// Tests that run at once. They mostly wait.
    pub(crate) threads: usize,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Stands in front of the command.
    pub(crate) wrapper: Vec<OsString>,
}

impl<'a> Suite<'a> {
    /// The tests that `arguments` choose, of the programs in the development profile.
    pub(crate) fn new(context: &Context, arguments: &'a [&'a str]) -> Self {
        Suite {
            arguments,
            programs: context.target.join("debug"),
            threads: 8 * context.processors,
            environment: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// Where the executable is.
    pub(crate) fn executable(context: &Context) -> Result<PathBuf, Outcome> {
        let found = context.executables.get().and_then(|all| all.iter().find(|one| one.name == "fcgi-tests::suite"));
        found.map(|one| one.path.clone()).ok_or_else(|| Outcome::failed("the black-box tests are not built"))
    }

    /// Runs it; then looks for processes and files that are left behind.
    pub(crate) fn run(self, context: &Context, order: &Order) -> Outcome {
        match Self::executable(context) {
            Ok(executable) => self.run_as_is(context, order, &executable),
            Err(outcome) => outcome,
        }
    }

    fn run_as_is(self, context: &Context, order: &Order, executable: &Path) -> Outcome {
        let home = context.directory(order.step);
        let temporary = home.join("tmp");
        let skips = home.join("skips");
        fs::create_dir_all(&temporary).and_then(|()| fs::write(&skips, "")).expect("the temporary directory is ours");
        // The working directory marks what the tests start: nginx wipes its environment.
        let mut command = context.command(order, "timeout");
        command.args(["--foreground", "-k", "10", TIME]).args(&self.wrapper).arg(executable).args(self.arguments);
        command.current_dir(&temporary);
        command.env("TMPDIR", &temporary).env("FCGI_TEST_SKIPS", &skips).env("FCGI_TEST_BIN_DIR", &self.programs);
        command.env("RUST_TEST_THREADS", self.threads.to_string());
        command.envs(self.environment);
        let outcome = libtest::run(context, order, "black-box", &mut command, Some(&skips));
        outcome.and(nothing_is_left(&temporary))
    }

    /// Runs it without any right, on copies of all that it reads: the repository may lie in root's home.
    pub(crate) fn run_as_nobody(mut self, context: &Context, order: &Order) -> Outcome {
        if !is_root() {
            return Outcome::skipped(order.step, "it needs root to become nobody");
        }
        if find("setpriv").is_none() {
            return Outcome::skipped(order.step, "setpriv is missing");
        }
        let executable = match Self::executable(context) {
            Ok(executable) => executable,
            Err(outcome) => return outcome,
        };
        let home = context.directory(order.step);
        let files = home.join("files");
        let copy = "set -e; mkdir -p \"$0/bin\"; cp \"$1\" \"$0/suite\"; \
             find \"$2\" -maxdepth 1 -type f -perm -100 -exec cp -t \"$0/bin\" {} +; \
             cp -r --parents README.md docs dist examples tests/fixtures \"$0\"; chmod -R a+rX \"$0\"; \
             mkdir -p \"$0/../tmp\"; chown nobody \"$0/../tmp\"; : >\"$0/../skips\"; chmod 666 \"$0/../skips\"";
        let mut command = context.command(order, "sh");
        let copied = context.check(order, command.args(["-c", copy]).arg(&files).arg(executable).arg(&self.programs));
        if !copied.failures.is_empty() {
            return copied;
        }
        self.programs = files.join("bin");
        self.environment.push(("HOME", home.join("tmp").into()));
        self.environment.push(("FCGI_TEST_REPOSITORY", files.clone().into()));
        if order.whole {
            self.environment.push(("FCGI_TEST_SECOND_RUN", "1".into()));
        }
        let become_nobody = "exec setpriv --reuid=nobody --regid=\"$(id -g nobody)\" --clear-groups \"$@\"";
        self.wrapper = ["sh", "-c", become_nobody, "sh"].map(OsString::from).into();
        self.run_as_is(context, order, &files.join("suite"))
    }
}

/// The tests are over and have ended all that they started: a process or a file that is there now would stay with a user.
fn nothing_is_left(temporary: &Path) -> Outcome {
    let processes = processes::end_all(temporary);
    let mut left: Vec<String> = processes.iter().map(|process| format!("process: {}", process.command)).collect();
    match processes::files_in(temporary) {
        Ok(files) => left.extend(files.into_iter().map(|file| format!("file: {file}"))),
        Err(error) => left.push(format!("{}: {error}", temporary.display())),
    }
    if left.is_empty() {
        return Outcome::passed();
    }
    let output = format!("left behind:\n{}", left.join("\n"));
    Outcome { failures: vec![Failure { test: None, output }], ..Outcome::default() }
}

/// Lets every user enter a directory.
pub(crate) fn open_to_all(directory: &Path) -> std::io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o711))
}
