//! Our programs, as built.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A built program that a test can start.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    /// Our program `name`: where `FCGI_TEST_BIN_<NAME>` says, else in `FCGI_TEST_BIN_DIR`, else in the folder of the
    /// target directory in which this test binary is.
    ///
    /// # Panics
    /// When it is not there.
    pub fn ours(name: &str) -> Self {
        let own_variable = format!("FCGI_TEST_BIN_{}", name.to_uppercase().replace('-', "_"));
        let path = match env::var_os(own_variable) {
            Some(path) => PathBuf::from(path),
            None => Self::folder().join(name),
        };
        assert!(path.is_file(), "{} is not there: run `cargo build --workspace --bins` first", path.display());
        Program(path)
    }

    /// A program of the system, such as a web server; `None` when it is not installed.
    pub fn installed(name: &str) -> Option<Self> {
        // A user's PATH often lacks the folders for system daemons.
        let path = env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
        path.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file()).map(Program)
    }

    /// A program at a known place; `None` when it is not there.
    pub fn at(path: &Path) -> Option<Self> {
        path.is_file().then(|| Program(path.to_owned()))
    }

    /// The folder of our programs.
    pub fn folder() -> PathBuf {
        if let Some(dir) = env::var_os("FCGI_TEST_BIN_DIR") {
            return PathBuf::from(dir);
        }
        // target/debug/deps/suite-0123456789abcdef -> target/debug
        let this = env::current_exe().expect("the test binary knows its path");
        this.ancestors().nth(2).expect("the test binary is in target/PROFILE/deps").to_owned()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A command that starts it in an environment of nothing but `PATH`, `HOME` and `TMPDIR`, with no input:
    /// what a developer has in his environment changes no test.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.env_clear().stdin(Stdio::null());
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }
}

/// The root of the repository, for README.md and examples/.
pub fn repository() -> PathBuf {
    match env::var_os("FCGI_TEST_REPOSITORY") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned(),
    }
}
