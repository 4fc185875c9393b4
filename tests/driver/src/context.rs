//! What all steps share: where things are, and how commands are started.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::cargo::Executable;
use crate::step::{Order, Outcome};

/// The exit status of a script that cannot do its work here; the last line of its output says why.
const NOT_HERE: i32 = 3;

/// How much of a log is shown when a step fails, in lines.
const TAIL: usize = 60;

/// What all steps share.
pub(crate) struct Context {
    pub(crate) repository: PathBuf,
    /// cargo's target directory.
    pub(crate) target: PathBuf,
    /// The temporary directory of this run.
    pub(crate) run: PathBuf,
    /// One log for each step; they stay until the next run.
    pub(crate) logs: PathBuf,
    /// Everything has to be there, and `Cargo.lock` complete.
    pub(crate) ci: bool,
    pub(crate) processors: usize,
    /// The executables of the tests, when they have been built.
    pub(crate) executables: OnceLock<Vec<Executable>>,
    children: Mutex<BTreeSet<u32>>,
    interrupted: AtomicBool,
}

impl Context {
    pub(crate) fn new(repository: PathBuf, target: PathBuf, run: PathBuf) -> std::io::Result<Self> {
        let logs = target.join("test-run");
        fs::create_dir_all(&logs)?;
        Ok(Context {
            repository,
            target,
            run,
            logs,
            ci: std::env::var("CI").is_ok_and(|ci| ci == "true"),
            processors: std::thread::available_parallelism().map_or(2, usize::from),
            executables: OnceLock::new(),
            children: Mutex::default(),
            interrupted: AtomicBool::new(false),
        })
    }

    pub(crate) fn log_path(&self, step: &str) -> PathBuf {
        self.logs.join(format!("{step}.log"))
    }

    /// The log of a step, to append to.
    pub(crate) fn log(&self, order: &Order) -> File {
        let path = self.log_path(order.step);
        OpenOptions::new().create(true).append(true).open(path).expect("a log in the target directory can be written")
    }

    /// The last lines of a step's log.
    pub(crate) fn tail(&self, order: &Order) -> String {
        let text = fs::read(self.log_path(order.step)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// A command in the repository whose output goes to the step's log. It leads a process group, which is ended when the
    /// run is interrupted.
    pub(crate) fn command(&self, order: &Order, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let log = self.log(order);
        command.current_dir(&self.repository).stdin(Stdio::null()).process_group(0);
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        command.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never");
        command.env("FCGI_RUN", &self.run).env("FCGI_TARGET", &self.target);
        command
    }

    /// cargo with a subcommand, `--locked` where `Cargo.lock` has to be complete.
    pub(crate) fn cargo(&self, order: &Order, words: &[&str]) -> Command {
        let mut command = self.command(order, "cargo");
        command.args(words.iter().take(1));
        if self.ci && words.first() != Some(&"fmt") {
            command.arg("--locked");
        }
        command.args(words.iter().skip(1));
        command
    }

    /// Runs a command to its end.
    pub(crate) fn status(&self, order: &Order, command: &mut Command) -> std::io::Result<ExitStatus> {
        let _ = writeln!(self.log(order), "$ {command:?}");
        let mut child = command.spawn()?;
        self.started(child.id());
        let status = child.wait();
        self.ended(child.id());
        status
    }

    /// A process group to be ended when the run is interrupted.
    pub(crate) fn started(&self, pid: u32) {
        self.children().insert(pid);
    }

    /// One that has ended by itself.
    pub(crate) fn ended(&self, pid: u32) {
        self.children().remove(&pid);
    }

    /// Runs a command that is a check: passed with exit status 0, skipped with 3, failed otherwise.
    pub(crate) fn check(&self, order: &Order, command: &mut Command) -> Outcome {
        match self.status(order, command) {
            Ok(status) if status.success() => Outcome::passed(),
            Ok(status) if status.code() == Some(NOT_HERE) => {
                Outcome::skipped(order.step, self.tail(order).lines().last().unwrap_or_default())
            }
            Ok(status) => Outcome::failed(format!("{}\n{status}", self.tail(order))),
            Err(error) => Outcome::failed(format!("{command:?}: {error}")),
        }
    }

    /// Runs a script of ours that prints one line, such as the path of a toolchain; an error is why there is none.
    pub(crate) fn ask(&self, order: &Order, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.repository.join(words.first().copied().unwrap_or_default()));
        command.args(words.iter().skip(1)).current_dir(&self.repository).stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        let _ = self.log(order).write_all(&output.stderr);
        let last = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().last().unwrap_or_default().to_owned();
        if output.status.success() { Ok(last(&output.stdout)) } else { Err(last(&output.stderr)) }
    }

    /// Where one of our scripts is.
    pub(crate) fn script(&self, path: &str) -> PathBuf {
        self.repository.join(path)
    }

    /// A directory of this run, made if it is not there, which every user may enter.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.run.join(name);
        fs::create_dir_all(&path).expect("a directory in the temporary directory can be made");
        path
    }

    /// Ends what runs, and has nothing else begin.
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        for pid in self.children().iter() {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(pid, Signal::TERM);
            }
        }
    }

    /// Whether nothing is to begin any more.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    fn children(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a program is in PATH or where system daemons are; an absolute path names a file.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
