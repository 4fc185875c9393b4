//! Where a case runs: the programs, a directory of its own, and what is in there afterwards.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::strace::{self, Strace};
use crate::deadline::Deadline;
use crate::{Program, TempDir, copy_program, is_root, proc, wire};

/// Between two looks at what a case does.
const PAUSE: Duration = Duration::from_millis(10);

/// How long what was killed may take to be gone.
const LAST: Duration = Duration::from_secs(10);

/// Copies of the programs, which the user of the workers can execute if `as_nobody`.
pub(super) struct Programs {
    directory: TempDir,
    pub(super) as_nobody: bool,
}

impl Programs {
    pub(super) fn copy() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("i").tempdir()?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        for name in ["fcgi-spawn", "hello"] {
            copy_program(Program::ours(name).path(), &directory.path().join(name));
        }
        let open = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0);
        let as_nobody = is_root() && directory.path().ancestors().all(open);
        Ok(Programs { directory, as_nobody })
    }

    /// A new directory for one case.
    pub(super) fn site(&self, name: &str) -> io::Result<Site> {
        let directory = self.directory.path().join(name);
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
        for program in ["fcgi-spawn", "hello"] {
            symlink(self.directory.path().join(program), directory.join(program))?;
        }
        fs::create_dir(directory.join("run"))?;
        Ok(Site { directory, as_nobody: self.as_nobody })
    }
}

/// The directory of one case; what it has started ends with it, and so does the directory.
pub(super) struct Site {
    directory: PathBuf,
    as_nobody: bool,
}

impl Site {
    /// Of the files of the launcher.
    pub(super) fn run(&self, name: &str) -> PathBuf {
        self.directory.join("run").join(name)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.run("s/app")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.run("p/pid")
    }

    pub(super) fn page(&self) -> PathBuf {
        self.run("page")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.run("log")
    }

    /// Beside the files of the launcher.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn trace(&self) -> PathBuf {
        strace::file(&self.directory)
    }

    /// The launcher with these options and two workers, traced or not.
    pub(super) fn launcher(&self, options: &[&str], strace: Option<&Strace<'_>>) -> Command {
        let program = self.directory.join("fcgi-spawn");
        let mut command = match strace {
            Some(strace) => {
                let mut command = strace.command(&self.trace());
                command.arg("-D").arg(program);
                command
            }
            None => Program::at(&program).expect("a copy of it").command(),
        };
        command.arg("-s").arg(self.socket()).arg("-P").arg(self.pid_file()).args(["--mkdir", "-F", "2"]);
        if self.as_nobody {
            command.args(["-u", "nobody"]);
        }
        command.args(options.iter().map(|option| option.replace('@', &self.run("").to_string_lossy())));
        command.arg("--").arg(self.directory.join("hello"));
        command.stdin(Stdio::null()).current_dir(&self.directory);
        command
    }

    /// Starts it; what it writes goes to files.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Launched> {
        let file = |name| File::options().create(true).append(true).open(self.beside(name));
        command.stdout(file("stdout")?).stderr(file("stderr")?);
        Ok(Launched { child: command.spawn()?, ended: None })
    }

    /// Starts strace beside it.
    pub(super) fn attach(&self, command: &mut Command) -> io::Result<Launched> {
        command.stdout(Stdio::null()).stderr(File::create(self.beside("strace"))?);
        Ok(Launched { child: command.spawn()?, ended: None })
    }

    /// All that was written to the log, the old one, and stderr, in lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let files = [self.beside("stderr"), self.run("log.1"), self.log()];
        let text: String = files.iter().map(|path| read(path)).collect();
        text.lines().map(str::to_owned).collect()
    }

    /// One request.
    pub(super) fn request(&self, patience: Duration) -> Result<(), String> {
        let asked = || -> io::Result<String> {
            let mut stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            stream.write_all(&wire::get(1, 0, "/hello"))?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        match asked() {
            Ok(text) if text.contains("Hello, World!") => Ok(()),
            Ok(text) => Err(format!("it is answered by {} bytes", text.len())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The workers of this supervisor, oldest first.
    pub(super) fn workers_of(&self, supervisor: u32) -> Vec<u32> {
        let list = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
        let children: Vec<u32> = match list {
            Ok(list) => list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
            Err(_) => proc::children(supervisor),
        };
        children.into_iter().filter(|pid| self.is_worker(*pid)).collect()
    }

    /// All workers, also those whose supervisor is gone.
    pub(super) fn workers(&self) -> Vec<u32> {
        self.processes().into_iter().filter(|pid| self.is_worker(*pid)).collect()
    }

    fn is_worker(&self, pid: u32) -> bool {
        let name = self.directory.join("hello");
        proc::command_line(pid).first().is_some_and(|first| Path::new(first) == name)
    }

    /// All processes of ours that are left: launchers, what they have forked, and workers.
    pub(super) fn processes(&self) -> Vec<u32> {
        let ours = |pid: &u32| {
            let first = proc::command_line(*pid).into_iter().next();
            first.is_some_and(|first| Path::new(&first).starts_with(&self.directory)) && proc::is_alive(*pid)
        };
        all_processes().into_iter().filter(ours).collect()
    }

    /// The tracers of our processes.
    fn tracers(&self) -> Vec<u32> {
        let trace = self.trace().to_string_lossy().into_owned();
        let ours = |pid: &u32| {
            let words = proc::command_line(*pid);
            words.first().is_some_and(|word| word.ends_with("strace")) && words.contains(&trace)
        };
        all_processes().into_iter().filter(ours).collect()
    }

    /// Waits until the trace is complete.
    pub(super) fn trace_ends(&self, patience: Duration) -> bool {
        within(patience, || self.tracers().is_empty())
    }

    /// Has a launcher that is traced run alone.
    pub(super) fn detach(&self, patience: Duration) -> bool {
        self.tracers().into_iter().for_each(|pid| signal(pid, Signal::TERM));
        self.trace_ends(patience)
    }

    /// What the launcher has left in its directory, but for logs.
    pub(super) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        list(&self.run(""), "", &mut left);
        left.retain(|name| !matches!(name.as_str(), "log" | "log.1"));
        left
    }

    /// Kills all launchers and workers, but lets a trace be completed.
    pub(super) fn end_all(&self) {
        let is_quiet = || {
            let left = self.processes();
            left.iter().for_each(|pid| signal(*pid, Signal::KILL));
            left.is_empty()
        };
        if !within(LAST, is_quiet) {
            eprintln!("processes in {} cannot be killed", self.directory.display());
        }
        if !self.trace_ends(LAST) {
            self.tracers().into_iter().for_each(|pid| signal(pid, Signal::KILL));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.end_all();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A launcher that was started.
pub(super) struct Launched {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Launched {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        // Not waited for, it keeps its pid.
        if self.ended().is_none() {
            self::signal(self.pid(), signal);
        }
    }

    pub(super) fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        within(time, || self.ended().is_some());
        self.ended
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Looks until something is so, or the time is over.
pub(super) fn within(time: Duration, mut look: impl FnMut() -> bool) -> bool {
    let deadline = Deadline::after(time);
    loop {
        let last = deadline.passed();
        if look() {
            return true;
        }
        if last {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The text of a file; nothing if it is not there.
pub(super) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn all_processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn list(directory: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), &format!("{name}/"), names);
        }
        names.push(name);
    }
    names.sort();
}
