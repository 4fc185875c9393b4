//! What "in place of spawn-fcgi" means, case by case.
//!
//! The program under test is ours, called `spawn-fcgi`, or whatever `FCGI_TEST_BIN_SPAWN_FCGI` names. `tests/run` names
//! Debian's spawn-fcgi there for a run of its own: every case but those in `oddities`, which say what we do otherwise and
//! why, has to hold for the original, too.
//!
//! A command line is written as one would type it in the case's private folder, with blanks between its words.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use fcgi_tests::{
    Process, Program, Stray, TempDir, copy_program, eventually, is_root, proc, temp_dir, write_executable,
};

mod child;
mod command_line;
mod no_fork;
mod oddities;
mod outcome;
mod pid_file;
mod socket;
mod user;

/// A program that stays, and everything of it can be seen from outside.
const SLEEP: &str = "/bin/sleep 1000";

/// A user and group everybody has.
const NOBODY: u32 = 65534;

/// A private folder from which the program under test is started.
pub(crate) struct Case {
    dir: TempDir,
    program: PathBuf,
    /// Where the program is, unless it is another's.
    _bin: TempDir,
    /// Shell code in front of the command line.
    caller: String,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self::called_by("exec")
    }

    /// Started by shell code that ends in `exec`, such as `umask 027; exec`.
    fn called_by(caller: &str) -> Self {
        let bin = temp_dir();
        let program = match std::env::var_os("FCGI_TEST_BIN_SPAWN_FCGI") {
            Some(path) => path.into(),
            None => {
                let path = bin.path().join("spawn-fcgi");
                symlink(Program::ours("fcgi-spawn").path(), &path).expect("a symlink");
                path
            }
        };
        Case { dir: temp_dir(), program, _bin: bin, caller: caller.to_owned() }
    }

    /// Started by a user without any right, in a folder of his, also when the tests are root's.
    fn called_by_nobody() -> Self {
        let mut case = Self::called_by("exec setpriv --reuid=65534 --regid=65534 --clear-groups");
        if !is_root() {
            case.caller = "exec".to_owned();
            return case;
        }
        assert!(Program::installed("setpriv").is_some(), "setpriv is missing");
        case.program = case.public_program();
        chown(case.dir.path(), Some(NOBODY), Some(NOBODY)).expect("root may give a folder away");
        case
    }

    /// A copy of the program under test in the private folder, which everybody may enter and execute.
    fn public_program(&self) -> PathBuf {
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
        let copy = self.path("bin/spawn-fcgi");
        self.folder("bin");
        copy_program(&self.program, &copy);
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
        copy
    }

    /// The program under test.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.path(name)).expect("a folder");
        self.path(name)
    }

    pub(crate) fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        write_executable(&self.path(name), text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("the file is ours");
        self.path(name)
    }

    /// Mode, owner and group of a file.
    #[track_caller]
    pub(crate) fn owner(&self, name: &str) -> (u32, u32, u32) {
        let file = fs::symlink_metadata(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        (file.mode() & 0o7777, file.uid(), file.gid())
    }

    fn exists(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    fn command(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let shell = Program::installed("sh").expect("there is a shell");
        let mut command = shell.command();
        command.arg("-c").arg(format!("{} \"$@\"", self.caller)).arg("sh").arg(&self.program);
        command.args(words).current_dir(self.dir.path());
        command
    }

    #[track_caller]
    fn start(&self, line: &str) -> Process {
        Process::start(&mut self.command(words(line)))
    }

    /// Starts the program and waits until it has ended.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Ended {
        self.run_words(words(line))
    }

    #[track_caller]
    fn run_words(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
        Ended::of(Process::start(&mut self.command(words)))
    }

    /// [`run`](Self::run) for a program that ends at once, as seen within the 100 ms for which the original looks.
    /// On a busy machine it may take longer: then there is another try.
    #[track_caller]
    fn run_short(&self, line: &str) -> Ended {
        self.run_short_words(words(line))
    }

    #[track_caller]
    fn run_short_words<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W> + Clone) -> Ended {
        eventually("a program whose early end is seen", || {
            // Of a try before, whose program may still have the socket.
            let _ = fs::remove_file(self.path("pid"));
            let _ = fs::remove_file(self.path("sock"));
            Some(self.run_words(words.clone())).filter(|ended| !ended.stderr.is_empty())
        })
    }

    /// Starts [`SLEEP`], which has to succeed, and gives the one child.
    #[track_caller]
    fn child(&self, line: &str) -> Child {
        let [child] = self.children(line);
        child
    }

    /// [`child`](Self::child) for `-F N`.
    #[track_caller]
    fn children<const N: usize>(&self, line: &str) -> [Child; N] {
        let children = self.run(&format!("{line} -- {SLEEP}")).started();
        for child in &children {
            child.becomes(&["/bin/sleep", "1000"]);
        }
        children
    }

    /// Nothing is started: status 255, and one line on stderr with `named` in it.
    #[track_caller]
    fn refuses(&self, line: &str, named: &str) -> String {
        self.refuses_words(words(line), named)
    }

    #[track_caller]
    fn refuses_words(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>, named: &str) -> String {
        let ended = self.run_words(words);
        assert_eq!((ended.status, &ended.stdout[..]), (255, ""), "{}", ended.stderr);
        let line = ended.stderr.strip_prefix("spawn-fcgi: ").unwrap_or_else(|| panic!("{}", ended.stderr));
        assert!(line.ends_with('\n') && line.lines().count() == 1, "not one line:\n{line}");
        assert!(line.contains(named), "{named} is not named: {line}");
        line.to_owned()
    }
}

/// The words of a line; `''` is an empty one.
fn words(line: &str) -> impl Iterator<Item = &str> + Clone {
    line.split_ascii_whitespace().map(|word| if word == "''" { "" } else { word })
}

/// What one run of the program said and left running.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    stdout: String,
    stderr: String,
    pub(crate) children: Vec<Child>,
}

impl Ended {
    #[track_caller]
    fn of(mut process: Process) -> Self {
        let status = process.wait_exit();
        let (stdout, stderr) = (process.stdout().to_end(), process.stderr().to_end());
        let pids = stdout.lines().filter_map(|line| line.strip_prefix("spawn-fcgi: child spawned successfully: PID: "));
        let children =
            pids.map(|pid| Child::adopt(pid.parse().unwrap_or_else(|_| panic!("not a pid: {pid}")))).collect();
        let status = status.code().unwrap_or_else(|| panic!("ended by a signal: {status}"));
        Ended { status, stdout, stderr, children }
    }

    /// The children of a complete success: a line for each, nothing else, status 0.
    #[track_caller]
    fn started<const N: usize>(self) -> [Child; N] {
        assert!(self.status == 0 && self.stderr.is_empty() && self.stdout.lines().count() == N, "{self:?}");
        self.children.try_into().unwrap_or_else(|children| panic!("not {N} children: {children:?}"))
    }
}

/// A child that was left running, seen through /proc.
#[derive(Debug)]
pub(crate) struct Child(Stray);

impl Child {
    fn adopt(pid: u32) -> Self {
        Child(Stray::adopt(pid))
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits until it executes a program with these arguments.
    #[track_caller]
    fn becomes(&self, arguments: &[&str]) {
        let mut seen = Vec::new();
        let looks_right = || {
            seen = proc::command_line(self.pid());
            (seen == arguments).then_some(())
        };
        eventually(&format!("process {} as {arguments:?}", self.pid()), looks_right);
    }

    /// Real, effective, saved and file-system ids, which have to be the same.
    #[track_caller]
    fn only(&self, name: &str) -> u32 {
        let ids = proc::status(self.pid(), name);
        assert!(ids.len() == 4 && ids.iter().all(|id| *id == ids[0]), "{name}: {ids:?}");
        ids[0].parse().expect("an id is a number")
    }

    #[track_caller]
    fn uid(&self) -> u32 {
        self.only("Uid")
    }

    #[track_caller]
    fn gid(&self) -> u32 {
        self.only("Gid")
    }

    fn groups(&self) -> Vec<u32> {
        proc::status(self.pid(), "Groups").iter().map(|id| id.parse().expect("an id is a number")).collect()
    }

    /// A set of signals, such as `SigIgn`, without the real-time ones.
    fn signals(&self, name: &str) -> Vec<u32> {
        let set = u64::from_str_radix(&proc::status(self.pid(), name).concat(), 16).expect("a set of signals");
        (1..32).filter(|signal| set & 1 << (signal - 1) != 0).collect()
    }

    fn descriptors(&self) -> Vec<(u32, PathBuf)> {
        let numbers = proc::descriptors(self.pid()).into_iter();
        numbers.map(|fd| (fd, proc::descriptor(self.pid(), fd).unwrap_or_default())).collect()
    }

    /// What its descriptor 0 refers to, which has to be a socket.
    #[track_caller]
    fn socket(&self) -> PathBuf {
        let socket = proc::descriptor(self.pid(), 0).expect("descriptor 0");
        assert!(socket.to_string_lossy().starts_with("socket:["), "{socket:?}");
        socket
    }

    /// The values of a variable of its environment: more than one would be a mistake.
    fn variable(&self, name: &str) -> Vec<String> {
        let variables = proc::environment(self.pid());
        variables.iter().filter_map(|variable| Some(variable.strip_prefix(name)?.strip_prefix('=')?.into())).collect()
    }
}

fn make_fifo(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status();
    assert!(status.is_ok_and(|status| status.success()), "mkfifo {}", path.display());
}

/// A name as a program gets it.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}
